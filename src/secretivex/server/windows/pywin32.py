"""Named pipes by pywin32: the only module that calls them, not yet run on Windows.

Written against CreateNamedPipe, ConnectNamedPipe, ImpersonateNamedPipeClient,
GetNamedPipeClientProcessId and GetModuleFileNameEx as Microsoft documents them; checked
against the types of pywin32's stubs. `packaging/windows/confirm.ps1` is for whoever has a Windows
machine. Rule for editors: every wait is on the operation and on `_closed`, so that `close` ends it.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import pywintypes
import win32api
import win32con
import win32event
import win32file
import win32pipe
import win32process
import win32security
import winerror

from secretivex.server.windows.port import PipeClient, PipeTakenError
from secretivex.server.windows.rules import PIPE_REJECT_REMOTE_CLIENTS, pipe_open_mode

BUFFER_BYTES = 64 * 1024

PIPE_MODE = (
    win32pipe.PIPE_TYPE_BYTE
    | win32pipe.PIPE_READMODE_BYTE
    | win32pipe.PIPE_WAIT
    | PIPE_REJECT_REMOTE_CLIENTS
)

_GONE = (
    winerror.ERROR_BROKEN_PIPE,
    winerror.ERROR_NO_DATA,
    winerror.ERROR_PIPE_NOT_CONNECTED,
    winerror.ERROR_OPERATION_ABORTED,
    winerror.ERROR_INVALID_HANDLE,
)


def _os_error(error: pywintypes.error) -> OSError:
    return OSError(0, error.strerror, None, error.winerror)


class Instance:
    """One instance of a pipe, used with overlapped calls.

    Its handle is closed by whoever is the last to use it: another thread's call never meets a handle
    that has been given to something else. It is not disconnected before, for that would take away
    what the client has not read yet.
    """

    def __init__(self, handle: Any) -> None:
        self._handle = handle
        self._closed = win32event.CreateEvent(None, True, False, None)
        self._lock = threading.Lock()
        self._users = 0
        self._is_open = True

    @contextlib.contextmanager
    def _in_use(self) -> Iterator[bool]:
        """False if this end was closed; else it stays open for as long as the body runs."""
        with self._lock:
            is_open = self._is_open
            self._users += is_open
        try:
            yield is_open
        finally:
            with self._lock:
                self._users -= is_open
                is_last = is_open and not self._is_open and not self._users
            if is_last:
                win32api.CloseHandle(self._handle)

    def accept(self) -> bool:
        """ConnectNamedPipe; a client may have come between the making and this call."""
        with self._in_use() as is_open:
            if not is_open:
                return False
            overlapped = _overlapped()
            try:
                status = win32pipe.ConnectNamedPipe(self._handle, overlapped)
                if status == winerror.ERROR_PIPE_CONNECTED:
                    return True
                return self._wait(overlapped) is not None
            except pywintypes.error as error:
                if error.winerror in _GONE:
                    return False
                raise _os_error(error) from error

    def read(self, size: int) -> bytes:
        """ReadFile."""
        with self._in_use() as is_open:
            if not is_open:
                return b""
            overlapped = _overlapped()
            buffer = win32file.AllocateReadBuffer(size)
            try:
                win32file.ReadFile(self._handle, buffer, overlapped)
                count = self._wait(overlapped)
            except pywintypes.error as error:
                if error.winerror in _GONE:
                    return b""
                raise _os_error(error) from error
            return bytes(buffer[:count]) if count else b""

    def write(self, data: bytes) -> None:
        """WriteFile."""
        with self._in_use() as is_open:
            while data:
                overlapped = _overlapped()
                try:
                    count = None
                    if is_open:
                        win32file.WriteFile(self._handle, data, overlapped)
                        count = self._wait(overlapped)
                except pywintypes.error as error:
                    raise _os_error(error) from error
                if not count:
                    raise OSError("the pipe was closed")
                data = data[count:]

    def _wait(self, overlapped: Any) -> int | None:
        """Bytes that were moved; None once this end was closed."""
        events = [overlapped.hEvent, self._closed]
        first = win32event.WaitForMultipleObjects(events, False, win32event.INFINITE)
        if first == win32event.WAIT_OBJECT_0:
            return win32file.GetOverlappedResult(self._handle, overlapped, False)
        with contextlib.suppress(pywintypes.error):
            win32file.CancelIo(self._handle)
            # The buffer belongs to the system until the operation has ended.
            win32file.GetOverlappedResult(self._handle, overlapped, True)
        return None

    def client(self) -> PipeClient:
        """By impersonation, which the system allows once something was read."""
        with self._in_use() as is_open:
            if not is_open:
                raise OSError("the pipe was closed")
            try:
                sid = self._client_sid()
                pid = win32pipe.GetNamedPipeClientProcessId(self._handle)
            except pywintypes.error as error:
                raise _os_error(error) from error
        return PipeClient(sid, pid, _program_of(pid, sid))

    def _client_sid(self) -> str:
        win32security.ImpersonateNamedPipeClient(self._handle)
        try:
            thread = win32api.GetCurrentThread()
            token = win32security.OpenThreadToken(thread, win32con.TOKEN_QUERY, True)
            return _user_of(token)
        finally:
            win32security.RevertToSelf()

    def close(self) -> None:
        """End every wait; the handle is given back by the last that uses it."""
        with self._lock:
            was_open, self._is_open = self._is_open, False
            is_last = was_open and not self._users
        if was_open:
            win32event.SetEvent(self._closed)
        if is_last:
            win32api.CloseHandle(self._handle)


def _overlapped() -> Any:
    overlapped = pywintypes.OVERLAPPED()
    overlapped.hEvent = win32event.CreateEvent(None, True, False, None)
    return overlapped


def _user_of(token: Any) -> str:
    sid, _ = win32security.GetTokenInformation(token, win32security.TokenUser)
    return win32security.ConvertSidToStringSid(sid)


def _program_of(pid: int, sid: str) -> str:
    """A process's program; "" unless that process, held while we look, is the same user's.

    Without a module's handle, the right to the least of information is enough since Windows 10.
    """
    try:
        # What GetModuleFileNameEx takes: less than that is not enough for it.
        access = win32con.PROCESS_QUERY_INFORMATION | win32con.PROCESS_VM_READ
        process = win32api.OpenProcess(access, False, pid)
        token = win32security.OpenProcessToken(process, win32con.TOKEN_QUERY)
        if _user_of(token) != sid:
            return ""
        return str(win32process.GetModuleFileNameEx(process, 0))
    except pywintypes.error:
        return ""


class Pipes:
    """The system's pipes."""

    def create(self, name: str, sddl: str, *, is_first: bool) -> Instance:
        """CreateNamedPipe with the access list that `sddl` says, for local clients alone."""
        security = pywintypes.SECURITY_ATTRIBUTES()
        security.SECURITY_DESCRIPTOR = (
            win32security.ConvertStringSecurityDescriptorToSecurityDescriptor(
                sddl, win32security.SDDL_REVISION_1
            )
        )
        try:
            handle = win32pipe.CreateNamedPipe(
                name,
                pipe_open_mode(is_first=is_first),
                PIPE_MODE,
                win32pipe.PIPE_UNLIMITED_INSTANCES,
                BUFFER_BYTES,
                BUFFER_BYTES,
                0,
                security,
            )
        except pywintypes.error as error:
            if error.winerror in (winerror.ERROR_ACCESS_DENIED, winerror.ERROR_PIPE_BUSY):
                raise PipeTakenError(0, error.strerror, name, error.winerror) from error
            raise _os_error(error) from error
        return Instance(handle)

    def own_sid(self) -> str:
        """Of this process's token."""
        process = win32api.GetCurrentProcess()
        return _user_of(win32security.OpenProcessToken(process, win32con.TOKEN_QUERY))
