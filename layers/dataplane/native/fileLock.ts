/** Advisory locks on files (flock(2)): they end with the process that holds them, however it ends. */
import { errno, errnoName, libc } from "./ffi.ts"

/** `locked` until `unlock`, `held` by somebody else, or the name of the error of a file system without locks. */
export const tryLock = (fd: number): "locked" | "held" | { readonly error: string } => {
  for (;;) {
    if (libc.flock(fd, LOCK_EX | LOCK_NB) === 0) return "locked"
    const error = errno()
    if (error === EINTR) continue
    return error === EAGAIN ? "held" : { error: errnoName(error) }
  }
}

/** Closing does not do: a child that is just being started has the descriptor, too, until its program runs. */
export const unlock = (fd: number): void => {
  libc.flock(fd, LOCK_UN)
}

const LOCK_EX = 2
const LOCK_NB = 4
const LOCK_UN = 8
const EINTR = 4
const EAGAIN = 11
