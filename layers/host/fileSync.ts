/** Putting a file's bytes on the disk without blocking the thread. */
import * as fs from "node:fs"

export interface FileSync {
  /** Resolves when everything written to the file before the call is on the disk. Calls that wait share one sync. */
  readonly sync: () => Promise<void>
  readonly close: () => void
}

/** Opens the file at `path`, which must exist; throws what the file system says. */
export const makeFileSync = (
  path: string,
  sync: (fd: number, done: (error: Error | null) => void) => void = fs.fdatasync
): FileSync => {
  const fd = fs.openSync(path, "r")
  let running: Promise<void> | undefined
  let next: Promise<void> | undefined
  let closed = false

  const start = (): Promise<void> => {
    next = undefined
    const started = new Promise<void>((resolve, reject) => {
      // The closed number may be another file's already.
      if (closed) reject(new Error(`${path} was closed`))
      else sync(fd, (error) => (error === null ? resolve() : reject(error)))
    })
    running = started
    const done = (): void => {
      if (running === started) running = undefined
    }
    started.then(done, done)
    return started
  }

  return {
    // A sync under way may have passed by what was written since it began: wait for the one after it.
    sync: () => (running === undefined ? start() : (next ??= running.then(start, start))),
    close: () => {
      closed = true
      const free = (): void => fs.closeSync(fd)
      if (running === undefined) free()
      else running.then(free, free)
    }
  }
}
