"""Eight processes that want the same network, or the same download, at the same time: made once, never torn."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the processes are forked, which is safe on Linux only")

RACE = """
import hashlib, json, logging, multiprocessing, sys
import torch
from lemmse.data import fashion_mnist, load_images
from lemmse import Denoising
from lemmse.networks.weights import trained

torch.set_num_threads(1)

def train():
    images = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    net = trained("PatchMLP", images, Denoising(), patch_size=3, steps=60, batch_size=4, seed=0, progress=False)
    return b"".join(value.numpy().tobytes() for value in net.state_dict().values())

def download():
    fashion_mnist.ADDRESS, checksum = sys.argv[2:]
    fashion_mnist.FILES = {"train": ("images.gz", checksum)}
    return load_images("fashion_mnist").numpy().tobytes()

def work(what, barrier, results):
    said = []
    keep = logging.Handler()
    keep.emit = lambda record: said.append(record.getMessage())
    logging.getLogger("lemmse").setLevel("INFO")
    logging.getLogger("lemmse").addHandler(keep)
    barrier.wait()
    results.put((hashlib.sha256(what()).hexdigest(), said))

if __name__ == "__main__":
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(8), context.Queue()
    processes = [context.Process(target=work, args=(globals()[sys.argv[1]], barrier, results)) for _ in range(8)]
    for process in processes:
        process.start()
    found = [results.get(timeout=100) for _ in processes]
    print(json.dumps(found))
"""


def race(tmp_path, *arguments):
    environment = {name: value for name, value in os.environ.items() if name not in ("LEMMSE_DATA", "OMP_NUM_THREADS")}
    environment |= {"LEMMSE_CACHE": str(tmp_path), "no_proxy": "127.0.0.1"}
    done = subprocess.run(
        [sys.executable, "-c", RACE, *arguments], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_a_network_is_trained_once(tmp_path):
    found = race(tmp_path, "train")
    assert len(found) == 8
    assert len({digest for digest, _ in found}) == 1
    said = Counter(line for _, lines in found for line in lines)
    assert said["PatchMLP: training 60 steps"] == 1
    assert sum(count for line, count in said.items() if "re-used" in line) == 7
    left = [path.name for path in (tmp_path / "weights").iterdir() if not path.name.endswith(".lock")]
    assert [name.split(".")[-1] for name in left] == ["safetensors"]


def test_a_set_is_downloaded_once(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (50, 28, 28), dtype=np.uint8)
    header = np.array([0x803, *pixels.shape], ">i4").tobytes()
    content = gzip.compress(header + pixels.tobytes())
    asked = []

    class Server(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            for start in range(0, len(content), 4096):
                self.wfile.write(content[start : start + 4096])

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{server.server_port}/"
        found = race(tmp_path, "download", base, "sha256:" + hashlib.sha256(content).hexdigest())
        server.shutdown()
    expected = (pixels[:, None] / np.float32(255)).astype(np.float32)
    assert {digest for digest, _ in found} == {hashlib.sha256(expected.tobytes()).hexdigest()}
    assert asked == ["/images.gz"]
    assert not [
        p for p in (tmp_path / "data" / "fashion_mnist").iterdir() if p.name not in ("images.gz", ".images.gz.lock")
    ]


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    hold = (
        "import pathlib, sys, time; from lemmse.files import one_at_a_time\n"
        "with one_at_a_time(pathlib.Path(sys.argv[1])): print('held', flush=True); time.sleep(float(sys.argv[2]))"
    )
    command = [sys.executable, "-c", hold, str(tmp_path / "file")]
    with subprocess.Popen([*command, "60"], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(subprocess.TimeoutExpired):
            subprocess.run([*command, "0"], timeout=2, check=True, stdout=subprocess.DEVNULL)
        holder.send_signal(signal.SIGKILL)
    subprocess.run([*command, "0"], timeout=20, check=True, stdout=subprocess.DEVNULL)
