// NPZ is a zip archive of .npy members. The central directory at the archive's end is the truth; local headers are read only to
// skip them. What else an archive holds (a readme, folders, what macOS puts beside every file) is passed over unless it is asked for by its name. Source: APPNOTE.TXT of PKWARE, version 6.3, sections 4.3 to 4.5 (with its 64-bit extensions, which numpy may write).
#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <set>

#include "base/diagnostics.h"
#include "runtime/data/readers.h"

namespace nnc {
namespace {

constexpr uint32_t end_record_magic = 0x06054b50, end_record64_magic = 0x06064b50, locator64_magic = 0x07064b50;
constexpr uint32_t central_magic = 0x02014b50, local_magic = 0x04034b50;
constexpr size_t end_record_size = 22, locator64_size = 20, end_record64_size = 56, central_size = 46, local_size = 30;
constexpr uint64_t deflate_ratio = 1032;

struct Member {
  std::string name, key;  ///< key: without ".npy"
  uint16_t flags = 0, method = 0;
  uint32_t crc = 0;
  uint64_t compressed = 0, size = 0, local_offset = 0;
  bool is_array() const { return name.ends_with(".npy") && !name.starts_with("__MACOSX/"); }
};

class ZipReader {
 public:
  ZipReader(const FileBytes& file, const std::string& path) : file_(file), path_(path), members_(read_directory()) {}

  const std::vector<Member>& members() const { return members_; }

  StoredArray read_array(const Member& m) { return parse_npy(read_member(m), path_ + ": " + m.key); }

 private:
  std::vector<Member> read_directory() const {
    if (!file_.text().starts_with("PK"))
      refuse_format(path_, "is not an npz archive: it does not begin as a zip file", recognise_format(file_));
    size_t end = find_end_record();
    uint64_t count = number<uint16_t>(end + 10), size = number<uint32_t>(end + 12), offset = number<uint32_t>(end + 16);
    if (count == 0xFFFF || size == 0xFFFFFFFF || offset == 0xFFFFFFFF) read_end_record64(end, count, size, offset);
    if (offset > file_.size || size > file_.size - offset) refuse_damaged(path_, "has a zip directory outside the file");
    std::vector<Member> members;
    size_t at = offset;
    for (uint64_t i = 0; i < count; ++i) {  // count is no reason to allocate: each member must be there in full
      need(at, central_size);
      if (number<uint32_t>(at) != central_magic) refuse_damaged(path_, "has a damaged zip directory");
      Member m;
      m.flags = number<uint16_t>(at + 8);
      m.method = number<uint16_t>(at + 10);
      m.crc = number<uint32_t>(at + 16);
      m.compressed = number<uint32_t>(at + 20);
      m.size = number<uint32_t>(at + 24);
      m.local_offset = number<uint32_t>(at + 42);
      size_t name_length = number<uint16_t>(at + 28), extra_length = number<uint16_t>(at + 30),
             comment_length = number<uint16_t>(at + 32);
      need(at + central_size, name_length + extra_length + comment_length);
      m.name = file_.text().substr(at + central_size, name_length);
      m.key = m.name.ends_with(".npy") ? m.name.substr(0, m.name.size() - 4) : m.name;
      read_extra64(m, at + central_size + name_length, extra_length);
      at += central_size + name_length + extra_length + comment_length;
      members.push_back(std::move(m));
    }
    if (at - offset != size) refuse_damaged(path_, "has a zip directory of another length than its end promises");
    check_members(members);
    return members;
  }

  /// Names are unique, and no byte belongs to two members: an archive whose members share their data unpacks to any size.
  void check_members(const std::vector<Member>& members) const {
    std::set<std::string_view> names;
    std::vector<const Member*> in_order;
    for (const Member& m : members) {
      if (!names.insert(m.name).second) refuse_damaged(path_, fmt::format("holds two arrays named `{}`", m.key));
      in_order.push_back(&m);
    }
    std::sort(in_order.begin(), in_order.end(), [](const Member* a, const Member* b) { return a->local_offset < b->local_offset; });
    for (size_t i = 1; i < in_order.size(); ++i) {
      const Member &before = *in_order[i - 1], &m = *in_order[i];
      uint64_t room = m.local_offset - before.local_offset, header = local_size + before.name.size();
      if (room < header || room - header < before.compressed)
        refuse_damaged(path_, fmt::format("is damaged: the data of `{}` overlaps that of `{}`", before.key, m.key));
    }
  }

  FileBytes read_member(const Member& m) {
    if (m.flags & 1) refuse_format(path_, fmt::format("has an encrypted member `{}`", m.name));
    need(m.local_offset, local_size);
    if (number<uint32_t>(m.local_offset) != local_magic)
      refuse_damaged(path_, fmt::format("has a damaged zip entry for `{}`", m.name));
    uint64_t begin = m.local_offset + local_size + number<uint16_t>(m.local_offset + 26) + number<uint16_t>(m.local_offset + 28);
    need(begin, m.compressed);
    const std::byte* raw = file_.data + begin;
    FileBytes member;
    if (m.method == 0) {
      if (m.compressed != m.size) refuse_damaged(path_, fmt::format("has a damaged zip entry for `{}`", m.name));
      member = {raw, m.size, file_.owner, file_.mapped};
    } else if (m.method == 8) {
      if (m.size > (m.compressed + 1) * deflate_ratio)
        refuse_damaged(path_, fmt::format("promises an impossible size for `{}`", m.name));
      inflated_ += m.size;
      if (inflated_ > largest_inflated(file_.size)) refuse_bomb(path_, "save it with np.savez, which does not compress");
      OwnedBytes out = allocate_bytes(m.size);
      if (!inflate_raw({raw, m.compressed}, out.data.get(), m.size))
        refuse_damaged(path_, fmt::format("holds damaged compressed data in `{}`", m.name));
      member = {out.data.get(), m.size, out.data, false};
    } else {
      refuse_format(path_, fmt::format("compresses `{}` by method {}; only stored and deflate are known", m.name, m.method));
    }
    if (crc32_z(0, reinterpret_cast<const Bytef*>(member.data), member.size) != m.crc)
      refuse_damaged(path_, fmt::format("holds damaged data: the check sum of `{}` does not agree", m.name));
    return member;
  }

  /// A little-endian number; the caller has checked the range.
  template <class T>
  T number(uint64_t at) const {
    T value;
    std::memcpy(&value, file_.data + at, sizeof(T));
    return value;
  }

  void need(uint64_t at, uint64_t size) const {
    if (at > file_.size || size > file_.size - at) refuse_damaged(path_, "is cut short: its zip directory points past its end");
  }

  /// The end record stands before a comment of at most 65535 bytes.
  size_t find_end_record() const {
    if (file_.size >= end_record_size) {
      size_t last = file_.size - end_record_size, first = last > 0xFFFF ? last - 0xFFFF : 0;
      for (size_t at = last + 1; at-- > first;)
        if (number<uint32_t>(at) == end_record_magic && at + end_record_size + number<uint16_t>(at + 20) == file_.size) return at;
    }
    refuse_damaged(path_, "is cut short: the directory at the end of the zip archive is missing");
  }

  void read_end_record64(size_t end, uint64_t& count, uint64_t& size, uint64_t& offset) const {
    if (end < locator64_size || number<uint32_t>(end - locator64_size) != locator64_magic) return;
    uint64_t at = number<uint64_t>(end - locator64_size + 8);
    need(at, end_record64_size);
    if (number<uint32_t>(at) != end_record64_magic) refuse_damaged(path_, "has a damaged zip directory");
    count = number<uint64_t>(at + 32);
    size = number<uint64_t>(at + 40);
    offset = number<uint64_t>(at + 48);
  }

  /// Extra field 1 holds, in this order, those of size, compressed size and offset that do not fit 32 bits.
  void read_extra64(Member& m, size_t at, size_t length) const {
    size_t end = at + length;
    while (end - at >= 4) {
      uint16_t id = number<uint16_t>(at), bytes = number<uint16_t>(at + 2);
      at += 4;
      if (bytes > end - at) refuse_damaged(path_, "has a damaged zip directory");
      if (id == 1) {
        size_t from = at, until = at + bytes;
        for (uint64_t* value : {&m.size, &m.compressed, &m.local_offset}) {
          if (*value != 0xFFFFFFFF || until - from < 8) continue;
          *value = number<uint64_t>(from);
          from += 8;
        }
      }
      at += bytes;
    }
  }

  const FileBytes& file_;
  const std::string& path_;
  uint64_t inflated_ = 0;  ///< bytes of all members read so far
  std::vector<Member> members_;
};

}  // namespace

std::vector<std::pair<std::string, StoredArray>> parse_npz(const FileBytes& file, const std::string& path) {
  ZipReader zip(file, path);
  std::vector<std::pair<std::string, StoredArray>> arrays;
  for (const Member& m : zip.members())
    if (m.is_array()) arrays.emplace_back(m.key, zip.read_array(m));
  return arrays;
}

std::vector<std::string> npz_keys(const FileBytes& file, const std::string& path) {
  ZipReader zip(file, path);
  std::vector<std::string> keys;
  for (const Member& m : zip.members())
    if (m.is_array()) keys.push_back(m.key);
  return keys;
}

StoredArray parse_npz_member(const FileBytes& file, const std::string& path, const std::string& key) {
  ZipReader zip(file, path);
  std::vector<std::string> keys;
  const Member *chosen = nullptr, *other = nullptr;
  for (const Member& m : zip.members()) {
    if (m.is_array()) keys.push_back(m.key);
    if (m.is_array() && (m.key == key || key.empty())) chosen = &m;
    if (m.name == key) other = &m;
  }
  if (key.empty() && keys.size() > 1) chosen = nullptr;
  if (!chosen) chosen = other;
  if (!chosen && keys.empty()) throw UserError(Code::E0403, fmt::format("`{}` holds no arrays", file_name(path)), path);
  if (!chosen) refuse_key(path, key, keys);
  return zip.read_array(*chosen);
}

}  // namespace nnc
