# SPDX-License-Identifier: GPL-2.0-only
"""Runs CPython's own tests of selectors and asyncio: tests.py stock|kevent TESTS MODULE..."""
import os
import re
import selectors
import sys
import test
import unittest

# Those of the other selectors say nothing here.
OTHERS = r"\.(Select|Poll|Kqueue|Devpoll|Proactor)\w*\."
LEFT_OUT = r"\.(%s)\w*$" % os.environ.get("LEFT_OUT", "-")
# What is not said of a test's name.
DROPPED = r"^$"


class Result(unittest.TestResult):
    def __init__(self):
        super().__init__()
        self.failed = set()

    def say(self, verdict, test):
        if hasattr(test, "id") and not isinstance(test, unittest.suite._ErrorHolder):
            print(verdict, re.sub(DROPPED, "", test.id()), flush=True)
        else:
            print("not ok", test, flush=True)

    def addSuccess(self, test):
        self.say("ok", test)

    def addSkip(self, test, reason):
        self.say("skip", test)

    def addExpectedFailure(self, test, error):
        self.say("ok", test)

    def addFailure(self, test, error):
        print(self._exc_info_to_string(error, test))
        self.failed.add(test.id())

    addError = addFailure

    def addSubTest(self, test, subtest, error):
        if error:
            self.addFailure(test, error)


def flat(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from flat(test)
        elif not re.search(OTHERS, test.id()) and not re.search(LEFT_OUT, test.id()):
            yield test


def run(tests, modules):
    loader = unittest.TestLoader()
    test.__path__.append(tests + "/test")  # Debian has the package in two halves
    for module in modules:
        result = Result()
        try:
            suite = unittest.TestSuite(flat(loader.loadTestsFromName(module)))
        except unittest.SkipTest:
            print("skip", module, flush=True)
            continue
        suite.run(result)
        # Some measure how long something took, on a busy machine: again, by itself.
        for name in sorted(result.failed):
            again = Result()
            try:
                unittest.TestSuite(loader.loadTestsFromName(name)).run(again)
            except Exception as error:
                print(error)
                again.failed.add(name)
            print("not ok" if again.failed else "again", re.sub(DROPPED, "", name), flush=True)


if __name__ == "__main__":
    if sys.argv[1] != "stock":
        import kevent_selector
        selectors.EpollSelector = selectors.DefaultSelector = kevent_selector.KeventSelector
    run(sys.argv[2], sys.argv[3:])
