// What nnc asks of an MPI library, as a table of C functions that a plug-in hands out: nnc itself knows no header of MPI, and one binary serves both libraries.
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define NNC_MPI_TABLE_VERSION 2
#define NNC_MPI_FAREWELL_BYTES 1024
#define NNC_MPI_SIGN_OF_LIFE "~"

/* All functions but `error` and `library` give 0, or an error of MPI, of which `error` has the words. They are called by one thread at a time, after `begin` and before `end`. None waits but
   these two. Requests are numbers of the plug-in's own. */
typedef struct NncMpiTable {
  int32_t version; /* NNC_MPI_TABLE_VERSION of the plug-in */
  const char* (*library)(void); /* its name and version, one line */
  const char* (*error)(int code);
  int (*begin)(int32_t* rank, int32_t* size); /* joins the run */
  int (*send)(const void* bytes, size_t size, int32_t to, int32_t tag, int64_t* request); /* size: at most INT_MAX */
  int (*receive)(void* bytes, size_t size, int32_t from, int32_t tag, int64_t* request);
  int (*test)(int64_t request, int32_t* done); /* a request that is done is forgotten */
  int (*progress)(void);
  /* To all others: this worker ends; `text` has NNC_MPI_FAREWELL_BYTES. */
  int (*say_farewell)(const char* text);
  /* To all others: this worker lives, and is busy. */
  int (*give_sign)(void);
  /* Whether somebody has said farewell, or given a sign, since the last call; if so who (else -1), and the text: NNC_MPI_SIGN_OF_LIFE of a sign. */
  int (*hear_farewell)(int32_t* rank, char* text);
  int (*end)(void); /* all workers have arrived in good order */
} NncMpiTable;

/* The one symbol of a plug-in. */
const NncMpiTable* nnc_mpi_table(void);

#ifdef __cplusplus
}
#endif
