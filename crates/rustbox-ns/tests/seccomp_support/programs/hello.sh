set -e
printf 'b\na\n' | sort | tr a-z A-Z | head -n 1
touch -t 200001010000 file
tar cf file.tar file && mkdir -p out && tar xpf file.tar -C out && ls out
(sleep 0 & wait) && trap 'echo hello from the shell' EXIT
