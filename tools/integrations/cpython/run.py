# SPDX-License-Identifier: GPL-2.0-only
"""CPython's tests on its own kqueue module: run.py stock|kevent|fallback MODULE-FILE TESTS MODULE..."""
import importlib.machinery
import importlib.util
import sys

backend, path = sys.argv[1:3]
if backend != "stock":
    loader = importlib.machinery.ExtensionFileLoader("select", path)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("select", loader))
    loader.exec_module(module)
    sys.modules["select"] = module

import select
import selectors

import tests

kqueue = hasattr(selectors, "KqueueSelector") and selectors.DefaultSelector is selectors.KqueueSelector
if backend == "fallback":
    try:
        select.kqueue()
    except OSError as error:
        print("kqueue:", error.strerror)
assert kqueue == (backend == "kevent")
tests.OTHERS = r"\.(Select|Poll|%s|Devpoll|Proactor)\w*\." % ("E[Pp]oll" if kqueue else "Kqueue")
tests.DROPPED = r"(?<=\.)(Kqueue|E[Pp]oll)(?=\w*Test)"
tests.run(sys.argv[3], sys.argv[4:])
