import asyncio
import multiprocessing
import os
import socket
import subprocess
import tempfile
import threading


def square(n):
    return n * n


async def run_true():
    return await (await asyncio.create_subprocess_exec("true")).wait()


def main():
    seen = []
    thread = threading.Thread(target=lambda: seen.append(1))
    thread.start()
    thread.join()
    assert subprocess.run(["echo", "hi"], capture_output=True).stdout == b"hi\n"
    for method in ("fork", "spawn", "forkserver"):
        with multiprocessing.get_context(method).Pool(2) as pool:
            assert pool.map(square, [1, 2, 3]) == [1, 4, 9]
    server = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(server.getsockname())
    accepted, _ = server.accept()
    client.sendall(b"x")
    assert accepted.recv(1) == b"x"
    left, right = socket.socketpair()
    left.send(b"y")
    assert right.recv(1) == b"y"
    assert socket.getaddrinfo("127.0.0.1", 80)
    assert asyncio.run(run_true()) == 0
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "file")
        open(path, "w").write("z")
        os.chmod(path, 0o755)
    print("hello from Python", len(seen))


if __name__ == "__main__":
    main()
