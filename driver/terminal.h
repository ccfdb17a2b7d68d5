// What a stream can show.
#pragma once

#include <cstdio>

namespace nnc {

struct Terminal {
  bool colour = false;     ///< escape sequences for colour
  bool animated = false;   ///< lines may be rewritten in place
  int columns = 80;
};

/// NO_COLOR, TERM=dumb and pipes switch colour and animation off.
Terminal terminal(std::FILE*);

}  // namespace nnc
