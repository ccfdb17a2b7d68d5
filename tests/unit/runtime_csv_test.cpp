// CSV: what counts as a cell, a row and a header, and every way in which a table can be wrong.
#include <cmath>
#include <cstring>
#include <random>

#include "runtime/data/table.h"
#include "tests/unit/temp_folder.h"

using namespace nnc;
using namespace nnc::test;

namespace {

DataField request(const std::string& path, std::vector<int64_t> columns, DType dtype = DType::f32) {
  DataField r;
  r.name = "image";
  r.source.path = path;
  r.source.columns = std::move(columns);
  r.dtype = dtype;
  if (r.source.columns.size() > 1) r.row_shape = {static_cast<int64_t>(r.source.columns.size())};
  return r;
}

DataField labels(const std::string& path, int64_t column, int64_t classes) {
  DataField r = request(path, {column}, DType::i32);
  r.name = "label";
  r.classes = classes;
  return r;
}

template <class T>
std::vector<T> values(const FieldData& f) {
  size_t per_row = static_cast<size_t>(f.row_stride_bytes) / sizeof(T);
  std::vector<T> all(static_cast<size_t>(f.rows) * per_row);
  std::memcpy(all.data(), f.data, all.size() * sizeof(T));
  return all;
}

std::vector<float> floats(const DataField& r) { return values<float>(read_field(r)); }

}  // namespace

TEST_CASE("csv: ranges, lists and names choose columns, in the order asked for") {
  TempFolder folder;
  std::string path = folder.write("a.csv", "a,b,label\n1,2.5,0\n3,-4e2,1\n");
  DataField range;
  range.name = "x";
  range.source.path = path;
  range.source.has_range = true;
  range.source.first_column = 0;
  range.source.end_column = 2;
  range.row_shape = {2};
  CHECK(floats(range) == std::vector<float>{1, 2.5, 3, -400});
  CHECK(floats(request(path, {1, 0})) == std::vector<float>{2.5, 1, -400, 3});
  DataField named;
  named.name = "x";
  named.source.path = path;
  named.source.column_names = {"label", "a"};
  named.row_shape = {2};
  CHECK(floats(named) == std::vector<float>{0, 1, 1, 3});
  DataField all;
  all.name = "x";
  all.source.path = path;
  all.row_shape = {3};
  FieldData field = read_field(all);
  CHECK(field.rows == 2);
  CHECK(field.row_stride_bytes == 12);
  CHECK(field.row_shape == std::vector<int64_t>{3});
  CHECK(reinterpret_cast<uintptr_t>(field.data) % 64 == 0);
}

TEST_CASE("csv: one pass serves several fields and shapes beyond flat") {
  TempFolder folder;
  std::string path = folder.write("a.csv", "1,2,3,4,1\n5,6,7,8,0\n");
  DataField image;
  image.name = "image";
  image.source.path = path;
  image.source.has_range = true;
  image.source.end_column = 4;
  image.row_shape = {2, 2};
  image.dtype = DType::u8;
  std::vector<DataField> both = {image, labels(path, 4, 2)};
  std::vector<FieldData> fields = read_fields(both);
  CHECK(values<uint8_t>(fields[0]) == std::vector<uint8_t>{1, 2, 3, 4, 5, 6, 7, 8});
  CHECK(fields[0].row_shape == std::vector<int64_t>{2, 2});
  CHECK(values<int32_t>(fields[1]) == std::vector<int32_t>{1, 0});
  CHECK(fields[1].row_shape.empty());
}

TEST_CASE("csv: line ends, blanks, quotes, byte order mark, gzip") {
  TempFolder folder;
  std::vector<float> expected = {1, 2, 3, 4};
  for (std::string text :
       {"1,2\n3,4\n", "1,2\r\n3,4\r\n", "1,2\r3,4\r", "1,2\n3,4", "\n1,2\n\n  \n3,4\n\n", " 1 ,\t2\n3 , 4 \n",
        "\"1\",\"2\"\n\"3\" , \"4\"\n",
        "\xEF\xBB\xBF"
        "1,2\n3,4\n",
        "x,y\n1,2\n3,4\n", "\"x\",\"a \"\"quoted\"\", name\nof two lines\"\r\n1,2\r\n3,4\r\n", "+1,2.0\n3e0,.4e1\n"}) {
    CAPTURE(text);
    CHECK(floats(request(folder.write("a.csv", text), {0, 1})) == expected);
    CHECK(floats(request(folder.write("a.csv.gz", gzip(text)), {0, 1})) == expected);
  }
  std::string members = gzip("1,2\n") + gzip("3,4\n") + std::string(7, '\0');
  CHECK(floats(request(folder.write("a.gz", members), {0, 1})) == expected);
}

TEST_CASE("csv: a header is told from its content") {
  TempFolder folder;
  auto rows = [&](const std::string& text, int64_t column) {
    return read_field(request(folder.write("h.csv", text), {column})).rows;
  };
  CHECK(rows("x,y\n1,2\n", 0) == 1);
  CHECK(rows("0,1,2,3,label\n5,5,5,5,1\n", 0) == 1);  // a table whose columns are named by numbers
  CHECK(rows("5,5\n5,5\n", 0) == 2);
  CHECK(rows("id7,1\nid8,2\n", 1) == 2);  // text beside the numbers, in every row
  CHECK(rows("label,0,1,2,3\n1,5,5,5,5\n", 1) == 1);
  CHECK(rows("1,2,3,4,label\n5,5,5,5,1\n", 4) == 1);
  CHECK(rows(",x\n0,1\n1,2\n", 1) == 2);  // an index column without a name
  // One bad cell in a row of numbers is not a header.
  CHECK(rows("1,oops,1\n2,3,4\n", 0) == 2);
  CHECK_THAT(error_of([&] { rows("1,oops,1\n2,3,4\n", 1); }), starts_with("E0407 cell `oops` at line 1, column 2"));
  CHECK_THAT(error_of([&] { rows("12x,3\n1,2\n", 0); }),
             starts_with("E0407 cell `12x` at line 1, column 1 of `h.csv` is not a number"));
}

TEST_CASE("csv: a first row that may be a header or data is refused, never guessed") {
  TempFolder folder;
  auto read = [&](const std::string& first, const std::vector<int64_t>& columns) {
    return error_of([&] { read_field(request(folder.write("h.csv", first + "\n1,2,1\n1,2,1\n"), columns)); });
  };
  // The place of the text, as a header's name above a number or a bad cell.
  const std::vector<std::pair<std::string, int64_t>> firsts = {
      {"l,2,0", 0}, {"2,1,cat", 2}, {"1.5,0,x", 2}, {"x,3,2", 0}, {"0,2,x", 2}, {"\xEF\xBC\x91,2,0", 0},
      {"x,1,2", 0}, {"0,1,label", 2}, {"b3f,1,x", 0}, {"age,2020,2021", 0}};
  for (const auto& [first, place] : firsts) {
    CAPTURE(first);
    CHECK_THAT(read(first, {place}), starts_with("E0407 cell ") && contains("if this line is a header, choose columns by their names"));
    CHECK_THAT(read(first, {0, 1, 2}), starts_with("E0407 cell "));
    CHECK_THAT(read(first, {1}), starts_with("E0408 line 1 of `h.csv` may be a header or a row of data: "));
  }
  CHECK(read("age,2020,2021", {2, 1}) ==
        "E0408 line 1 of `h.csv` may be a header or a row of data: `age` in it stands above numbers, `2020` is one itself"
        " | if it is a header, choose columns by their names: `columns: [\"2021\", \"2020\"]`"
        " | if it is a row of data, put a header above it, a line of names");
  // What the help says decides it.
  auto named = [&](const std::string& text, std::vector<std::string> names) {
    DataField r = request(folder.write("h.csv", text), std::vector<int64_t>(names.size(), 0));
    r.source.columns.clear();
    r.source.column_names = std::move(names);
    return r;
  };
  CHECK(floats(named("age,2020,2021\n1,2,3\n", {"2021", "2020"})) == std::vector<float>{3, 2});
  CHECK(floats(request(folder.write("h.csv", "a,b,c\nage,2020,2021\n1,2,3\n"), {2, 1})) == std::vector<float>{2021, 2020, 3, 2});
  // A header of numbers alone is one where it holds the names.
  CHECK(floats(named("2019,2020,2021\n1,2,3\n", {"2021", "2019"})) == std::vector<float>{3, 1});
  CHECK(error_of([&] { read_field(named("2019,2020,2021\n1,2,3\n", {"2021", "2018"})); }) ==
        "E0408 `h.csv` has no header with the name `2018`: its first row is all numbers | choose columns by position: `columns: 0..64`");
  CHECK(floats(request(folder.write("h.csv", "2019,2020,2021\n1,2,3\n"), {0})) == std::vector<float>{2019, 1});
}

TEST_CASE("csv: every element type, at its limits") {
  TempFolder folder;
  auto read = [&](const std::string& cell, DType type) {
    return read_field(request(folder.write("t.csv", cell + "\n"), {0}, type));
  };
  CHECK(values<double>(read("0.1", DType::f64))[0] == 0.1);
  CHECK(values<float>(read("0.1", DType::f32))[0] == 0.1f);
  CHECK(values<float>(read("1e-60", DType::f32))[0] == 0);
  CHECK(values<float>(read("-1e-40", DType::f32))[0] == -1e-40f);
  CHECK(values<int32_t>(read("-2147483648", DType::i32))[0] == INT32_MIN);
  CHECK(values<int64_t>(read("9223372036854775807", DType::i64))[0] == INT64_MAX);
  CHECK(values<int32_t>(read("7.0", DType::i32))[0] == 7);
  CHECK(values<uint8_t>(read("255", DType::u8))[0] == 255);
  CHECK(values<uint8_t>(read("true", DType::boolean))[0] == 1);
  CHECK(values<uint8_t>(read("0", DType::boolean))[0] == 0);
  auto problem = [&](const std::string& cell, DType type) { return error_of([&] { read(cell, type); }); };
  CHECK_THAT(problem("256", DType::u8), starts_with("E0407 cell `256`"));
  CHECK_THAT(problem("-1", DType::u8), contains("does not fit the type"));
  CHECK_THAT(problem("2", DType::boolean), contains("does not fit the type"));
  CHECK_THAT(problem("2147483648", DType::i32), contains("does not fit the type"));
  CHECK_THAT(problem("99999999999999999999", DType::i64), contains("too large"));
  CHECK_THAT(problem("1e19", DType::i64), contains("too large"));
  CHECK_THAT(problem("1e39", DType::f32), contains("too large"));
  CHECK_THAT(problem("1e400", DType::f64), contains("too large"));
  CHECK_THAT(problem("2.5", DType::i32), contains("is not a whole number"));
}

TEST_CASE("csv: a bad cell is named by line, column and text") {
  TempFolder folder;
  auto problem = [&](const std::string& bad, int64_t column) {
    std::string path = folder.write("bad.csv", "x,y,z\n1,2,3\n\n4," + bad + ",6\n");
    return error_of([&] { read_field(request(path, {column})); });
  };
  CHECK(problem("abc", 1) == "E0407 cell `abc` at line 4, column 2 (`y`) of `bad.csv` is not a number");
  CHECK(problem("", 1) == "E0407 cell at line 4, column 2 (`y`) of `bad.csv` is empty");
  CHECK_THAT(problem("nan", 1), contains("cell `nan` at line 4, column 2 (`y`) of `bad.csv` is NaN"));
  CHECK_THAT(problem("1.2.3", 1), contains("is not a number"));
  CHECK_THAT(problem("0x10", 1), contains("is not a number"));
  CHECK_THAT(problem("+-1", 1), contains("is not a number"));
  CHECK_THAT(problem("1 2", 1), contains("is not a number"));
  CHECK_THAT(problem(std::string(500, 'q'), 1), contains(std::string(40, 'q') + "...`"));
  CHECK(problem("abc", 0).empty());  // a column that no field asks for may hold anything
  std::string path = folder.write("lines.csv", "\"a\nb\",y\n\"c\nd\",1\n\"e\",x\n");
  CHECK_THAT(error_of([&] { read_field(request(path, {1})); }), contains("line 5, column 2"));
}

TEST_CASE("csv: rows and columns that do not fit") {
  TempFolder folder;
  std::string path = folder.write("a.csv", "1,2,3\n4,5,6\n7,8\n");
  auto problem = [&](const DataField& r) { return error_of([&] { read_field(r); }); };
  CHECK(problem(request(path, {0})) == "E0408 line 3 of `a.csv` has 2 cells, line 1 has 3");
  CHECK(problem(request(path, {3})) == "E0408 `a.csv` has 3 columns (0 to 2); `image` asks for column 3");
  CHECK_THAT(problem(request(path, {-1})), starts_with("E0408"));
  DataField range = request(path, {});
  range.source.has_range = true;
  range.source.end_column = 64;
  range.row_shape = {8, 9};
  CHECK(problem(range) == "E0401 columns 0..64 of a.csv are 64 columns; `image` is declared 8x9 = 72 per row");
  range.row_shape = {8, 8};
  CHECK_THAT(problem(range), starts_with("E0408 `a.csv` has 3 columns (0 to 2); `image` asks for column 63"));
  range.source.end_column = INT64_MAX;
  range.row_shape = {INT64_MAX};
  CHECK_THAT(problem(range), starts_with("E0408"));
  CHECK_THAT(problem(request(path, {})), starts_with("E0401 a.csv holds 3 columns; `image` is declared one value per row"));
  DataField named = request(path, {});
  named.source.column_names = {"age"};
  CHECK_THAT(problem(named), starts_with("E0408 `a.csv` has no header"));
  named.source.path = folder.write("h.csv", "height,ages,ages\n1,2,3\n");
  named.source.column_names = {"heigth"};
  CHECK(problem(named) == "E0408 `h.csv` has no column `heigth` | a column with a similar name exists: `height`");
  named.source.column_names = {"income"};
  CHECK(problem(named) == "E0408 `h.csv` has no column `income` | its header names `height`, `ages`, `ages`");
  named.source.column_names = {"ages"};
  CHECK_THAT(problem(named), starts_with("E0408 `h.csv` has 2 columns named `ages`"));
  CHECK_THAT(problem(request(folder.write("s.csv", "1;2;3\n4;5;6\n"), {0, 1})), contains("this file seems to use `;`"));
  CHECK_THAT(problem(request(folder.write("q.csv", "1\n\"2\n3\n"), {0})),
             starts_with("E0408 a quote that opens at line 2 of `q.csv` is never closed"));
  CHECK_THAT(problem(request(folder.write("q.csv", "1\n\"2\"3\n"), {0})),
             starts_with("E0408 text follows a closing quote at line 2"));
}

TEST_CASE("csv: labels out of range name their row") {
  TempFolder folder;
  auto problem = [&](const std::string& text, int64_t classes) {
    return error_of([&] { read_field(labels(folder.write("l.csv", text), 0, classes)); });
  };
  CHECK(problem("0\n9\n", 10).empty());
  CHECK_THAT(problem("class\n0\n10\n3\n", 10),
             starts_with("E0409 label 10 in row 2 (line 3, column 1) of `l.csv` is out of range: `label` is class(10), 0 to 9"));
  CHECK_THAT(problem("1\n2\n3\n", 3), contains("the labels count from 1: declare class(4)"));
  CHECK_THAT(problem("0\n-1\n", 3), starts_with("E0409 label -1 in row 2"));
  CHECK_THAT(problem("0\n1.5\n", 3), starts_with("E0407 cell `1.5` at line 2, column 1 of `l.csv` is not a whole number"));
  CHECK(problem("0.0\n1e0\n", 3).empty());
}

TEST_CASE("csv: files without rows, and files that are not tables") {
  TempFolder folder;
  auto problem = [&](const std::string& text) {
    return error_of([&] { read_field(request(folder.write("e.csv", text), {0})); });
  };
  CHECK_THAT(problem(""), starts_with("E0403 `e.csv` is empty"));
  CHECK_THAT(problem("\n\n \n"), starts_with("E0403 `e.csv` holds no rows"));
  CHECK_THAT(problem("x,y\n"), starts_with("E0403 `e.csv` holds a header and no rows"));
  CHECK_THAT(problem(std::string("\x93NUMPY\x01\x00\x00\x00", 10)), contains("read it with npy(...)"));
  CHECK_THAT(problem(std::string("\0\0\x08\x01", 4)),
             starts_with("E0404 `e.csv` is not text: it holds zero bytes | it looks like an idx file"));
}

TEST_CASE("csv: text cut anywhere or with any byte changed gives fields or a diagnostic") {
  TempFolder folder;
  unsigned seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937 random(seed);
  std::string good = "a,\"b\",c\r\n1,2.5,\"3\"\r\n-4,5e1,6\r\n7,8,9\r\n";
  int read = 0, refused = 0;
  for (int i = 0; i < 2000; ++i) {
    std::string text = good.substr(0, 1 + random() % good.size());
    for (unsigned n = random() % 3; n > 0; --n)
      text[random() % text.size()] = static_cast<char>(random() % 4 ? "\",\n\r 1e.x"[random() % 9] : random());
    std::string path = folder.write("f.csv", text);
    DataField r = request(path, {1});
    if (error_of([&] {
          FieldData f = read_field(r);
          REQUIRE(f.rows > 0);
          REQUIRE(values<float>(f).size() == static_cast<size_t>(f.rows));
        }).empty())
      ++read;
    else
      ++refused;
  }
  CHECK(read > 0);
  CHECK(refused > 0);
}

TEST_CASE("csv: random numbers of every length read back as written") {
  TempFolder folder;
  unsigned seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  std::vector<float> expected;
  std::string text;
  for (int i = 0; i < 4000; ++i) {
    uint32_t bits = static_cast<uint32_t>(random());
    float v;
    std::memcpy(&v, &bits, 4);
    if (!(std::abs(v) < 1e38f)) v = static_cast<float>(i);
    char cell[64];
    snprintf(cell, sizeof cell, i % 2 ? "%.9g" : "%.12e", static_cast<double>(v));
    expected.push_back(v);
    text += cell + std::string(i % 4 == 3 ? "\n" : ",");
  }
  CHECK(floats(request(folder.write("r.csv", text), {0, 1, 2, 3})) == expected);
}
