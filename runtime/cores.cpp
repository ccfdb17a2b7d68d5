// A container or a batch system gives a process less than the machine: by an affinity mask, which the kernel tells, or by a quota of CPU time per period,
// which must be read from files (Linux, admin-guide/cgroup-v2 and cgroup-v1/cpusets, sched-bwc). /proc/self/cgroup names the process's group in every
// hierarchy, /proc/self/mountinfo says which part of each hierarchy is mounted where: in a container that is often the group itself, so that its own path
// is to be cut off. Limits are nested, so the smallest one on the way up counts.
#include "runtime/cores.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <sstream>
#include <thread>
#include <vector>

namespace nnc {
namespace {

constexpr double unlimited = std::numeric_limits<double>::infinity();

std::vector<std::string> split(const std::string& text, char at) {
  std::vector<std::string> parts;
  std::string part;
  std::istringstream in(text);
  while (std::getline(in, part, at)) parts.push_back(part);
  return parts;
}

bool has_word(const std::string& list, const std::string& word) {
  std::vector<std::string> words = split(list, ',');
  return std::find(words.begin(), words.end(), word) != words.end();
}

/// mountinfo writes a space as \040.
std::string unescape(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    auto octal = [&](size_t k) { return k < text.size() && text[k] >= '0' && text[k] <= '7'; };
    if (text[i] == '\\' && octal(i + 1) && octal(i + 2) && octal(i + 3)) {
      out += char((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

struct Mount {
  std::string root;   ///< which part of the hierarchy is mounted: "/" or a group's path
  std::string point;  ///< where
};

struct Hierarchy {
  bool second = false;  ///< version 2
  std::string group;    ///< the process's, as seen from its namespace
  std::vector<Mount> mounts;
};

/// "2 1 0:3 ROOT POINT OPTIONS TAG... - TYPE SOURCE OPTIONS"
void read_mounts(const std::string& path, Hierarchy& first, Hierarchy& second) {
  std::ifstream file(path);
  std::string line;
  while (std::getline(file, line)) {
    std::vector<std::string> words = split(line, ' ');
    auto dash = std::find(words.begin(), words.end(), "-");
    if (dash - words.begin() < 6 || words.end() - dash < 4) continue;
    Mount mount{unescape(words[3]), unescape(words[4])};
    if (dash[1] == "cgroup2") second.mounts.push_back(mount);
    if (dash[1] == "cgroup" && has_word(dash[3], "cpu")) first.mounts.push_back(mount);
  }
}

/// "0::/group" in version 2, "4:cpu,cpuacct:/group" in version 1.
void read_groups(const std::string& path, Hierarchy& first, Hierarchy& second) {
  std::ifstream file(path);
  std::string line;
  while (std::getline(file, line)) {
    size_t one = line.find(':'), two = one == std::string::npos ? one : line.find(':', one + 1);
    if (two == std::string::npos) continue;
    std::string controllers = line.substr(one + 1, two - one - 1), group = line.substr(two + 1);
    if (controllers.empty()) second.group = group;
    if (has_word(controllers, "cpu")) first.group = group;
  }
}

/// quota / period, both in microseconds; "max" and -1 are no limit.
double cores_of(const std::string& quota, const std::string& period) {
  char *quota_end = nullptr, *period_end = nullptr;
  double q = std::strtod(quota.c_str(), &quota_end), p = std::strtod(period.c_str(), &period_end);
  bool numbers = quota_end != quota.c_str() && *quota_end == 0 && period_end != period.c_str() && *period_end == 0;
  return numbers && std::isfinite(q) && std::isfinite(p) && q > 0 && p > 0 ? q / p : unlimited;
}

std::string read_word(const std::string& path) {
  std::ifstream file(path);
  std::string word;
  file >> word;
  return word;
}

double quota_of_group(const std::string& folder, bool second) {
  if (!second) return cores_of(read_word(folder + "/cpu.cfs_quota_us"), read_word(folder + "/cpu.cfs_period_us"));
  std::ifstream file(folder + "/cpu.max");
  std::string quota, period;
  file >> quota >> period;
  return cores_of(quota, period);
}

/// The group's path below the mount's point; nothing of it if the mount does not show the group.
std::string path_in_mount(const std::string& group, const std::string& root) {
  if (("/" + group + "/").find("/../") != std::string::npos) return "";
  if (root == "/") return group == "/" ? "" : group;
  if (group == root) return "";
  return group.starts_with(root + "/") ? group.substr(root.size()) : "";
}

double quota_in(const Hierarchy& hierarchy, const std::string& root) {
  double least = unlimited;
  for (const Mount& mount : hierarchy.mounts) {
    std::string below = path_in_mount(hierarchy.group, mount.root);
    while (true) {
      least = std::min(least, quota_of_group(root + mount.point + below, hierarchy.second));
      if (below.empty()) break;
      below.resize(below.rfind('/'));
    }
  }
  return least;
}

}  // namespace

double cpu_quota(const std::string& root) {
  Hierarchy first, second;
  second.second = true;
  read_groups(root + "/proc/self/cgroup", first, second);
  read_mounts(root + "/proc/self/mountinfo", first, second);
  return std::min(quota_in(first, root), quota_in(second, root));
}

int affinity_cores() {
  // The kernel refuses a set that is smaller than its own.
  for (int size = CPU_SETSIZE; size <= CPU_SETSIZE << 8; size *= 2) {
    cpu_set_t* set = CPU_ALLOC(size_t(size));
    if (!set) break;
    size_t bytes = CPU_ALLOC_SIZE(size_t(size));
    int count = sched_getaffinity(0, bytes, set) == 0 ? CPU_COUNT_S(bytes, set) : 0;
    CPU_FREE(set);
    if (count > 0) return count;
  }
  return std::max(1, int(std::thread::hardware_concurrency()));
}

int usable_cores() {
  // A quota of one and a half cores is best used by two threads: they share the work, and what is left of a core is not lost.
  double quota = std::min(cpu_quota(), 1e6);
  return std::max(1, std::min(affinity_cores(), int(std::lround(quota))));
}

}  // namespace nnc
