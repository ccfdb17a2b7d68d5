// The plug-in: built once with each MPI library's own compiler wrapper, against that library's headers. Two communicators of its own, one for what workers send one another and one for
// farewells; errors come back as numbers instead of ending the process.
#include <mpi.h>

#include <cstring>
#include <vector>

#include "runtime/workers/mpi/table.h"

namespace {

MPI_Comm messages = MPI_COMM_NULL, farewells = MPI_COMM_NULL;
int own_rank = 0, run_size = 1;
std::vector<MPI_Request> requests;
std::vector<int64_t> free_numbers;
MPI_Request hearing = MPI_REQUEST_NULL;
char heard[NNC_MPI_FAREWELL_BYTES], said[NNC_MPI_FAREWELL_BYTES];
const char sign[NNC_MPI_FAREWELL_BYTES] = NNC_MPI_SIGN_OF_LIFE;

int64_t take_number() {
  if (free_numbers.empty()) {
    requests.push_back(MPI_REQUEST_NULL);
    return int64_t(requests.size()) - 1;
  }
  int64_t number = free_numbers.back();
  free_numbers.pop_back();
  return number;
}

const char* library() {
  static char text[MPI_MAX_LIBRARY_VERSION_STRING];
  int length = 0;
  MPI_Get_library_version(text, &length);
  if (char* end = std::strpbrk(text, "\n\t")) *end = 0;
  return text;
}

const char* error(int code) {
  static char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  if (MPI_Error_string(code, text, &length) != MPI_SUCCESS) return "unknown error";
  return text;
}

int listen() { return MPI_Irecv(heard, sizeof heard, MPI_CHAR, MPI_ANY_SOURCE, 0, farewells, &hearing); }

int begin(int32_t* rank, int32_t* size) {
  int there = 0, provided = 0, code = 0;
  if ((code = MPI_Initialized(&there))) return code;
  if (!there && (code = MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided))) return code;
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  if ((code = MPI_Comm_rank(MPI_COMM_WORLD, &own_rank)) || (code = MPI_Comm_size(MPI_COMM_WORLD, &run_size))) return code;
  if ((code = MPI_Comm_dup(MPI_COMM_WORLD, &messages)) || (code = MPI_Comm_dup(MPI_COMM_WORLD, &farewells))) return code;
  MPI_Comm_set_errhandler(messages, MPI_ERRORS_RETURN);
  MPI_Comm_set_errhandler(farewells, MPI_ERRORS_RETURN);
  *rank = own_rank, *size = run_size;
  return listen();
}

int send(const void* bytes, size_t size, int32_t to, int32_t tag, int64_t* request) {
  *request = take_number();
  return MPI_Isend(bytes, int(size), MPI_BYTE, to, tag, messages, &requests[size_t(*request)]);
}

int receive(void* bytes, size_t size, int32_t from, int32_t tag, int64_t* request) {
  *request = take_number();
  return MPI_Irecv(bytes, int(size), MPI_BYTE, from, tag, messages, &requests[size_t(*request)]);
}

int test(int64_t request, int32_t* done) {
  int flag = 0;
  int code = MPI_Test(&requests[size_t(request)], &flag, MPI_STATUS_IGNORE);
  if (flag) free_numbers.push_back(request);
  *done = flag;
  return code;
}

int progress() {
  int flag = 0;
  return MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, messages, &flag, MPI_STATUS_IGNORE);
}

/// Text of NNC_MPI_FAREWELL_BYTES that stays what it is.
int tell_all(const char* text) {
  int code = 0;
  for (int other = 0; other < run_size && !code; ++other) {
    if (other == own_rank) continue;
    MPI_Request request;
    if (!(code = MPI_Isend(text, NNC_MPI_FAREWELL_BYTES, MPI_CHAR, other, 0, farewells, &request))) code = MPI_Request_free(&request);
  }
  return code;
}

int say_farewell(const char* text) {
  std::memcpy(said, text, sizeof said);
  return tell_all(said);
}

int give_sign() { return tell_all(sign); }

int hear_farewell(int32_t* rank, char* text) {
  int flag = 0;
  MPI_Status status;
  *rank = -1;
  int code = MPI_Test(&hearing, &flag, &status);
  if (code || !flag) return code;
  *rank = status.MPI_SOURCE;
  std::memcpy(text, heard, sizeof heard);
  return listen();
}

int end() {
  if (hearing != MPI_REQUEST_NULL) {
    // Signs that nobody had time to look at are taken in: the library may not end with messages under way.
    int32_t rank = 0;
    char text[NNC_MPI_FAREWELL_BYTES];
    while (rank >= 0 && hear_farewell(&rank, text) == MPI_SUCCESS) {
    }
    MPI_Cancel(&hearing);
    MPI_Wait(&hearing, MPI_STATUS_IGNORE);
  }
  MPI_Comm_free(&messages);
  MPI_Comm_free(&farewells);
  return MPI_Finalize();
}

}  // namespace

extern "C" const NncMpiTable* nnc_mpi_table(void) {
  static const NncMpiTable table{NNC_MPI_TABLE_VERSION, library, error, begin, send, receive, test, progress, say_farewell, give_sign, hear_farewell, end};
  return &table;
}
