"""exit_status.py N COMMAND...: runs the command and succeeds only when its exit status is exactly N."""

import subprocess
import sys

wanted = int(sys.argv[1])
status = subprocess.run(sys.argv[2:]).returncode
if status != wanted:
    print(f"exit status {status}, expected {wanted}: {' '.join(sys.argv[2:])}", file=sys.stderr)
    sys.exit(1)
