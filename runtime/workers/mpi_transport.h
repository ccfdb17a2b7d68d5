// Workers of MPI, on any number of machines.
#pragma once

#include <memory>
#include <string>

#include "runtime/workers/transport.h"

namespace nnc {

/// Loads the plug-in of `library` ("openmpi" or "mpich") and joins the run that mpirun or srun has started. UserError E0545 where it cannot.
std::unique_ptr<Transport> make_mpi_transport(const std::string& library, double stall_seconds);

}  // namespace nnc
