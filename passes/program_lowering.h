// The lowering of one graph, the whole or a body. Shared by lower.cpp and lower_scan.cpp.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "passes/lower_internal.h"
#include "passes/touched_rows.h"

namespace nnc {

/// What is added to the name of a carry that goes out of a body, which has the name of the one that comes in.
inline constexpr char output_mark[] = ".next";

/// Where a scan's values stand. A carry has a slot for each step and one more: a step reads one and writes the next, in the direction of the scan. A sequence that is a carry,
/// as it comes in or as it goes out, is no memory of its own.
struct ScanMemory {
  std::vector<BufferId> carries;  ///< [steps + 1 slots]
  std::vector<BufferId> stacks;   ///< [steps slots]; of one that is a carry: a slot of that
  std::vector<bool> is_carry;     ///< by sequence
};

class ProgramLowering {
 public:
  ProgramLowering(const Graph& graph, const LowerOptions& options) : graph_(graph), options_(options) {
    program_.name = options.name;
    program_.rows = options.rows;
    program_.whole_rows = options.whole_rows;
    program_.piece_rows = options.piece_rows;
    program_.target = options.target;
  }
  Program run();

 private:
  BufferId add_buffer(Buffer buffer) {
    buffer.bytes = buffer_bytes(buffer, program_.rows);
    program_.buffers.push_back(std::move(buffer));
    return BufferId{uint32_t(program_.buffers.size() - 1)};
  }
  BufferId temporary(NodeId n) { return add_buffer(lowering_.temporary_of(n)); }
  void add_leaves();
  void plan_stores();
  void plan_parts();
  /// The join that a group is, of which nothing is computed in a kernel of its own; null: none.
  const Join* join_of(int group) const;
  /// A part of a join that is stored where it is made.
  bool is_stored_in_place(const JoinedPart&) const;
  void add_kernels();
  /// A scatter whose additions are a kernel of their own.
  bool is_lone_scatter(NodeId n) const { return graph_[n].op == Op::scatter_add && !sums_by_entry(graph_, graph_[n]); }
  void name_kernel(Kernel&, const GroupSpace&, int group);
  void find_updates();
  /// A kernel that stores value(builder, index) at each index of `shape`; `node` is what it stands for.
  void add_copy(BufferId to, const Shape& shape, NodeId node, const std::function<int(KernelBuilder&, const IndexMap&)>& value);
  std::string unique_name(const std::string& base);
  // lower_scan.cpp
  void add_scan_buffers(NodeId);
  void add_scan(NodeId);
  BufferId add_slot(Slot, const Type&, std::vector<int> order, NodeId, std::string name);
  BufferId copy_operand(NodeId operand, std::vector<int> order, NodeId scan, std::string name);
  BufferId sequence_memory(NodeId operand, NodeId scan, std::string name);
  BufferId capture_memory(NodeId operand, const std::vector<int>* order, NodeId scan, std::string name);
  BufferId result_memory(NodeId);
  Buffer as_place(BufferId) const;
  void take_over(Program body, const std::map<std::string, BufferId>& places, NodeId scan);
  void find_readers();
  bool claim_in_place(const Update&);
  double share_of_touched(const Kernel&, BufferId) const;
  void measure(Kernel&);

  const Graph& graph_;
  const LowerOptions& options_;
  Program program_;
  LoweringContext lowering_{graph_, program_, {}, memory_orders(graph_)};
  std::vector<GroupSpace> spaces_;
  Joins joins_;
  StorePlan stores_;
  std::map<std::string, BufferId> persistent_, place_;
  std::map<NodeId, ScanMemory> scans_;
  std::vector<std::pair<BufferId, BufferId>> copies_;
  std::map<std::string, std::map<int, bool>> readers_;  // persistent -> groups that read it; true: at the index they compute
  std::map<std::string, std::map<int, std::set<std::vector<int>>>> reader_axes_;  // ... -> how members that read it lie in the group's space
  std::vector<std::set<int>> after_;                    // group -> groups that must come later
  std::unordered_map<std::string, int> names_;          // of kernels; the number that was tried last where one is taken
  std::vector<bool> updates_;                           // group -> it makes new values of persistents
};

}  // namespace nnc
