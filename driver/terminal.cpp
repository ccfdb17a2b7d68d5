// Colour and animation only where a person looks on and has not asked for plain text.

#include "driver/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

namespace nnc {

Terminal terminal(std::FILE* stream) {
  Terminal result;
  const char* term = std::getenv("TERM");
  bool capable = isatty(fileno(stream)) && term && std::strcmp(term, "dumb") != 0;
  const char* no_color = std::getenv("NO_COLOR");
  result.animated = capable;
  result.colour = capable && !(no_color && *no_color);
  winsize size{};
  if (capable && ioctl(fileno(stream), TIOCGWINSZ, &size) == 0 && size.ws_col > 0) result.columns = size.ws_col;
  return result;
}

}  // namespace nnc
