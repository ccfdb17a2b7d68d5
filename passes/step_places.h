// Which operations of a scan's body are computed where: once for all steps before the loop, in the loop, or once for all steps behind it.
//
//   hoisted  before the loop: contractions, reductions and lookups that read no carry, what they need, and the arithmetic behind them. The loop reads slices of what they give; what it
//            costs little to make again of slices it makes again.
//   sunk     behind the loop: contractions that no carry needs, and what reads them. The loop stacks what they read. What comes of nothing but values that are stacked anyway is made behind
//            the loop, too, rather than stacked.
//   sums     a carry c + g that nothing else reads is the sum of g over the steps, made behind the loop: of a contraction, of what is hoisted, sunk or stacked anyway, and of what is no
//            larger than a slice of something that stands in memory already.
//
// Nothing moves that has no batching rule (batch_steps.h). What is the same at each step leaves the loop, unless it is a repetition of less.
#pragma once

#include <optional>
#include <vector>

#include "ir/graph.h"

namespace nnc {

/// A carry that begins with its first value, to which every step adds its terms: nothing else reads it.
struct CarriedSum {
  struct Term {
    NodeId node;            ///< of the body
    bool subtracted = false;
    bool is_behind = false;  ///< added up behind the loop, else still by the carry
  };
  std::vector<Term> terms;
  bool leaves() const;  ///< all its terms are behind
};

/// By node of the body, where nothing else is said.
struct StepPlaces {
  std::vector<bool> varies;   ///< not the same at each step
  std::vector<bool> bound;    ///< only the loop can make it, or what reads something that only the loop can make
  std::vector<bool> sunk;     ///< among these: contractions that no carry needs, and what reads them: made behind the loop alone
  std::vector<bool> stacked;  ///< among these: read behind the loop, so the loop stacks it
  std::vector<bool> hoisted;  ///< what is not bound, and the loop reads instead of computing it
  std::vector<bool> outside;  ///< computed outside of the loop, or of what is stacked the sequence is read there
  std::vector<bool> inside;   ///< computed in the loop, or an input or hoisted value that is read there
  std::vector<std::optional<CarriedSum>> sums;  ///< by carry; those alone of which a term is behind
  std::vector<bool> adds_up;                    ///< an addition of such a sum, which goes with it
  bool anything_moves = false;
};

/// `rows`: of the batch that is planned, by which sizes are compared.
StepPlaces place_steps(const Node& scan, int64_t rows);

}  // namespace nnc
