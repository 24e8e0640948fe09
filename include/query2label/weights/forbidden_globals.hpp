// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <string>
#include <string_view>

namespace q2l::detail {

/// Modules, and members of modules, that no weights need and that attacks are built from. A module
/// stands for everything inside it.
inline constexpr auto forbidden_paths = std::to_array<std::string_view>({
    "_aix_support", "_ctypes", "_frozen_importlib", "_io", "_osx_support", "_pickle",
    "_posixsubprocess", "_pyio", "_pyrepl", "_socket", "_testcapi", "_winapi", "aiohttp",
    "asyncio", "bdb", "cPickle", "cProfile", "cffi", "cgitb", "cloudpickle", "code", "codeop",
    "commands", "concurrent", "ctypes", "dill", "distutils", "doctest", "ensurepip", "fcntl",
    "fileinput", "ftplib", "functools.reduce", "gc", "http", "httplib", "httpx", "idlelib",
    "imaplib", "imp", "importlib", "inspect", "io", "joblib", "lib2to3", "linecache",
    "logging.config", "marshal", "mmap", "msvcrt", "multiprocessing", "nt", "ntpath",
    "numpy.distutils", "numpy.f2py", "numpy.lib.npyio", "numpy.load", "numpy.testing",
    "operator", "os", "pdb", "pickle", "pip", "pkg_resources", "pkgutil", "platform", "popen2",
    "poplib", "posix", "posixpath", "profile", "pty", "py_compile", "pydoc", "requests",
    "resource", "rlcompleter", "runpy", "select", "selectors", "setuptools", "shelve", "shutil",
    "signal", "site", "smtplib", "socket", "socketserver", "sqlite3", "ssl", "subprocess",
    "sys", "tarfile", "telnetlib", "tempfile", "threading", "timeit", "torch._dynamo",
    "torch._inductor", "torch.distributed.rpc", "torch.hub", "torch.jit", "torch.load",
    "torch.package", "torch.save", "torch.serialization.load", "torch.utils.bottleneck",
    "torch.utils.collect_env", "torch.utils.cpp_extension", "trace", "types.CodeType",
    "types.FunctionType", "types.LambdaType", "unittest", "urllib", "urllib2", "urllib3",
    "venv", "webbrowser", "winreg", "wsgiref", "xmlrpc", "zipfile", "zipimport",
});

/// What of Python's builtins may stand in a pickle: types that only hold data, constants, and what
/// settings name.
inline constexpr auto harmless_builtins = std::to_array<std::string_view>({
    "Ellipsis", "NotImplemented", "bool", "bytearray", "bytes", "complex", "dict", "float",
    "frozenset", "int", "len", "list", "long", "max", "min", "object", "range", "set", "slice",
    "str", "sum", "tuple", "type", "unicode", "xrange",
});

/// Whether `path` is one of the forbidden paths or lies inside one.
inline bool is_inside_forbidden_path(std::string_view path) {
  static_assert(std::is_sorted(forbidden_paths.begin(), forbidden_paths.end()));
  constexpr int most_parts = 3;  // of a forbidden path
  std::size_t end = 0;
  for (int part = 0; part < most_parts && end < path.size(); ++part) {
    end = std::min(path.find('.', end + 1), path.size());
    if (std::binary_search(forbidden_paths.begin(), forbidden_paths.end(), path.substr(0, end)))
      return true;
  }
  return false;
}

/// Whether a pickle is refused for mentioning `name` of `module`. Everything else that is not known
/// is kept as inert data: this list gives attacks an early and clear answer; safety does not rest
/// on it.
inline bool is_forbidden_global(std::string_view module, std::string_view name) {
  if (module == "builtins" || module == "__builtin__" || module == "__builtins__")
    return std::find(harmless_builtins.begin(), harmless_builtins.end(), name) ==
           harmless_builtins.end();
  if (is_inside_forbidden_path(std::string(module) + "." + std::string(name))) return true;
  // Protocol 4 follows dots through attributes: ("logging", "os.system") is os.system.
  const bool dotted = name.find('.') != std::string_view::npos;
  for (std::size_t begin = 0; begin <= name.size();) {
    const std::string_view rest = name.substr(begin);
    if (rest.starts_with("__") || (dotted && is_inside_forbidden_path(rest))) return true;
    begin += std::min(rest.find('.'), rest.size()) + 1;
  }
  return false;
}

}  // namespace q2l::detail
