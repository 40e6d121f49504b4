#!/usr/bin/env bash
# The first training, as `make run` starts it: 2 nodes, 8 ranks, on this computer.
# Usage: quickstart.sh [FOLDER]   FOLDER holds `grid` and `python` (default: .venv/bin of this repository)
set -euo pipefail

bin=$(cd "${1:-$(dirname "$0")/../.venv/bin}" && pwd)
cd "$(dirname "$0")"
unset VIRTUAL_ENV CONDA_PREFIX # the ranks shall use FOLDER's python, whatever this shell has activated

say() { printf '\n$ %s\n' "$*"; }

# The newest usable version of the data, or nothing.
data_version() {
  "$bin/grid" datastore list -o json | "$bin/python" -c '
import json, sys
stores = json.load(sys.stdin)["datastores"]
print(max((s["version"] for s in stores if (s["name"], s["state"]) == ("stl10", "succeeded")), default=""))'
}

newest_run() {
  "$bin/grid" history -o json | "$bin/python" -c 'import json, sys; print(json.load(sys.stdin)["runs"][0]["run"])'
}

[ -f stl10/images.npz ] || "$bin/python" make_stl10.py

version=$(data_version)
if [ -z "$version" ]; then
  say grid datastore create stl10 --name stl10
  "$bin/grid" datastore create stl10 --name stl10
  version=$(data_version)
fi

train=(run --wait --instance_type 4_v100_16gb --framework lightning --gpus 8
  torch_elastic_vae.py --gpus 8 --data_path "grid:stl10:$version" --num_nodes 2)
say grid "${train[@]}"
"$bin/grid" "${train[@]}"

experiment=$(newest_run)-exp0
say grid logs "$experiment" --rank 0
"$bin/grid" logs "$experiment" --rank 0

cat <<END

The training succeeded. Go on from here:

  export PATH="$bin:\$PATH"
  cd "$PWD"

  grid status $experiment            what happened, and when
  grid logs $experiment -t           what all ranks wrote
  grid run --instance_type 4_v100_16gb --framework torch --gpus 8 ddp_minimal.py

  the four sizes, from one node to eight:
  grid run --instance_type 4_v100_16gb --framework lightning --gpus 4  torch_elastic_vae.py --gpus 4  --data_path grid:stl10:$version --num_nodes 1
  grid run --instance_type 4_v100_16gb --framework lightning --gpus 8  torch_elastic_vae.py --gpus 8  --data_path grid:stl10:$version --num_nodes 2
  grid run --instance_type 4_v100_16gb --framework lightning --gpus 16 torch_elastic_vae.py --gpus 16 --data_path grid:stl10:$version --num_nodes 4
  grid run --instance_type 4_v100_16gb --framework lightning --gpus 32 torch_elastic_vae.py --gpus 32 --data_path grid:stl10:$version --num_nodes 8

The server stays up and ends itself when it has been idle for 30 minutes (\`grid server stop\` ends it now).
README.md, docs/ and examples/README.md say more.
END
