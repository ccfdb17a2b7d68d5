// What commands write: never over what they read; and the values of reports as text and as JSON.
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/source.h"
#include "engine/tensors.h"

namespace nnc {

class Session;

/// UserError E0413 if `output` is one of the files `inputs`, by whatever name or link; with `help` to it.
void check_not_an_input(const std::string& output, const std::vector<std::string>& inputs, const std::string& help);

/// Writes results to .npz, .npy (one tensor only) or .csv by the name's ending, or as csv to standard output for "" and "-".
/// `header`: column names of a csv. Throws UserError.
void write_results(const std::string& path, const std::vector<StoredTensor>&, const std::vector<std::string>& header);
/// Refuses, before anything is computed, a name that write_results could not write.
void check_results_path(const std::string& path, size_t tensors);

/// The program's own files: the one on the command line and all that it uses.
std::vector<std::string> source_files(const SourceMap&);
/// These and the data of its train block, if it has one, or what stands for them by --data.
std::vector<std::string> files_read(const Session&);

/// On one line, as every line of --json. Paths may hold what is not UTF-8: such bytes become U+FFFD, since JSON has no place for them.
std::string json_line(const nlohmann::ordered_json&);
/// That on standard output, with a line break.
void print_json_line(const nlohmann::ordered_json&);

/// A number, or nested lists of the dimensions; NaN and infinity as text.
nlohmann::ordered_json json_value(const Tensor&);
/// The same of elements as stored: every digit of an i64, the shortest digits that give the same f32, true and false.
nlohmann::ordered_json json_value(const StoredTensor&);
/// Of one index of the first dimension.
nlohmann::ordered_json json_row(const StoredTensor&, int64_t row);
nlohmann::ordered_json json_number(double);

/// Three digits and a decimal prefix: "12.5 MB".
std::string in_units(double value, const char* unit);

/// "loss: 0.2100", or a table: rows of the last dimension, numbers right-aligned. On standard output.
void print_report(const std::string& name, const Tensor&);

}  // namespace nnc
