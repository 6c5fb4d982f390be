#!/bin/sh
# Removes from an environment what only builders and testers of the libraries need: thin.sh FOLDER
set -eu
cd "$1"/lib/python3*/site-packages
rm -rf pyarrow/include pyarrow/tests pyarrow/src pyarrow/includes
rm -f pyarrow/_flight* pyarrow/libarrow_flight*
find . -type d \( -name tests -o -name test \) -path '*/numpy/*' -prune -exec rm -rf {} +
rm -rf sqlalchemy/testing alembic/testing
find . -type f \( -name '*.pyx' -o -name '*.pxd' -o -name '*.pxi' -o -name '*.h' -o -name '*.hpp' -o -name '*.a' \) -delete
