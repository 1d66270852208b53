/** `process.execve` for a Node that has none (before 22.15). Written for such: nothing here may be newer than ES2019. */
import koffi from "koffi"

/** Becomes the program, as the same process; throws when the system does not let it. */
export const execve = (file: string, argv: ReadonlyArray<string>, environment: NodeJS.ProcessEnv): never => {
  const libc = koffi.load(null)
  const fcntl = libc.func("int fcntl(int, int, int)")
  const call = libc.func("int execve(str, str *, str *)")
  // Node has marked its standard streams to be closed then.
  for (const fd of [0, 1, 2]) fcntl(fd, F_SETFD, 0)
  const variables = Object.keys(environment).map((name) => `${name}=${environment[name]}`)
  call(file, [...argv, null], [...variables, null])
  throw new Error(`errno ${koffi.errno()}`)
}

const F_SETFD = 2
