// The readers behind table.h and tensor_file.h, one per file format. Each takes the bytes of a file (load_file) and the path that
// messages show.
#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "runtime/data/file_bytes.h"
#include "runtime/data/stored_array.h"
#include "runtime/data/table.h"

namespace nnc {

/// IDX, the format of MNIST: two zero bytes, a type, a number of dimensions, big-endian 32-bit sizes, elements.
StoredArray parse_idx(const FileBytes&, const std::string& path);

/// NPY format 1 to 3 (numpy.lib.format).
StoredArray parse_npy(const FileBytes&, const std::string& path);

/// The arrays of an NPZ archive by name, without ".npy" (other members count only where one is asked for by its whole name): all of them, or one (the only one, if `key` is empty), and then only
/// that is decompressed. Members are stored or deflated.
std::vector<std::pair<std::string, StoredArray>> parse_npz(const FileBytes&, const std::string& path);
std::vector<std::string> npz_keys(const FileBytes&, const std::string& path);  ///< likewise, nothing decompressed
StoredArray parse_npz_member(const FileBytes&, const std::string& path, const std::string& key);

/// A safetensors file: names in the file's order, elements, and the string pairs of __metadata__.
struct SafetensorsContent {
  std::vector<std::pair<std::string, StoredArray>> tensors;
  std::map<std::string, std::string> metadata;
};
SafetensorsContent parse_safetensors(const FileBytes&, const std::string& path);

/// What the first row of a csv file says: its number of cells (0 if there are no rows), and their names if it is a header. One that
/// holds all the names that are wanted is a header, whatever else stands in it.
struct CsvHead {
  int64_t columns = 0;
  std::vector<std::string> names;
};
CsvHead read_csv_head(const FileBytes&, const std::string& path, const std::vector<std::string>& wanted);
/// CSV: the fields of all requests (same file) in one pass over the text.
std::vector<FieldData> parse_csv(const FileBytes&, const std::string& path, std::span<const DataField* const> requests);

/// What a file looks like by its first bytes, as help for the user; "" if nothing is recognised.
std::string recognise_format(const FileBytes&);

/// Help for labels outside 0 .. classes - 1, by the lowest and highest label of all; "" if there is nothing likely to say.
std::string label_help(int64_t lowest, int64_t highest, int64_t classes);

/// E0411: the file has no array of that name (or has several and none was named).
[[noreturn]] void refuse_key(const std::string& path, const std::string& key, const std::vector<std::string>& keys);

/// "`file` holds ..." as a UserError: E0404, the file is not what it is read as, and
/// E0405, it is damaged or cut short.
[[noreturn]] void refuse_format(const std::string& path, const std::string& what, std::string help = {});
[[noreturn]] void refuse_damaged(const std::string& path, const std::string& what);

}  // namespace nnc
