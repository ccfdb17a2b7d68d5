# cmake -DINPUT=std.nn -DOUTPUT=std_text.cpp -P embed_std.cmake: the file's bytes as a char array (declared in frontend/std_text.h).
# An array of characters, not a string literal: no quoting to get wrong and no limit on the length.
file(READ ${INPUT} bytes HEX)
string(LENGTH "${bytes}" digits)
math(EXPR size "${digits} / 2")
string(REGEX REPLACE "(................................)" "\\1\n" bytes "${bytes}")
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "'\\\\x\\1'," bytes "${bytes}")
file(WRITE ${OUTPUT} "// Generated from frontend/std.nn by cmake/embed_std.cmake.
#include \"frontend/std_text.h\"

namespace nnc {
namespace {
const char text[] = {
${bytes}
'\\0'};
}  // namespace
const char* const std_nn_text = text;
const std::size_t std_nn_size = ${size};
}  // namespace nnc
")
