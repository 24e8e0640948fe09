# SPDX-License-Identifier: MIT
"""Bytes on disk of files and of installed Python packages with everything they depend on."""
import importlib.metadata
import pathlib
import re

# Parts for GPUs and NPUs, which a build for CPUs alone would not have: left out, in the peer's
# favour. cache.json: what OpenVINO's GPU plugin tuned.
GPU_PACKAGE = re.compile(r"nvidia|cuda|triton")
GPU_FILE = re.compile(r"cuda|nvshmem|nvrtc|intel_gpu|intel_npu|^cache\.json$")


def size_of_files(paths):
    return sum(pathlib.Path(p).stat().st_size for p in paths)


def distributions(name, found):
    """Adds the package `name` and what it requires, without extras, to `found`."""
    try:
        package = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return found  # required on other systems only
    if package.name in found:
        return found
    found[package.name] = package
    for requirement in package.requires or []:
        required = re.match(r"[\w.-]+", requirement)[0]
        if "extra ==" not in requirement and not GPU_PACKAGE.search(required):
            distributions(required, found)
    return found


def size_of_package(name):
    """Files that installing `name` brought; bytecode is left out, as it is made when first run."""
    paths = (pathlib.Path(package.locate_file(f)) for package in distributions(name, {}).values()
             for f in package.files or [] if not GPU_FILE.search(f.name) and f.suffix != ".pyc")
    return size_of_files(p for p in paths if p.exists())
