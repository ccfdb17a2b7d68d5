// What the process that holds nnc decides, for it alone knows its signals and its disk. None of it happens by itself:
//   map_large_files()             data files of 32 MB and more are mapped; nnc then handles SIGBUS
//   set_lost_file_handler()       who is told of a mapped file that was cut short (TrainingRun::on_file_lost)
//   remove_unfinished_files()     from a handler that ends the process: no temporary file of a save under way stays behind
//   check_output_writable()       before long work: whether its result can be written
#pragma once

#include "runtime/data/atomic_file.h"
#include "runtime/data/file_bytes.h"
