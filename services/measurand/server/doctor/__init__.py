"""`measurand doctor`: asks both stores with real operations what is wrong, and says what to do."""

from measurand.server.doctor.run import command

__all__ = ["command"]
