#!/usr/bin/env node
/**
 * Starts `layers/main.ts` on a Node that is new enough: this one, or the one locked as a dependency. Written for old
 * Nodes: nothing here may be newer than ES2019.
 */
import * as ChildProcess from "child_process"
import * as Fs from "fs"
import { createRequire } from "module"
import * as Path from "path"
import { fileURLToPath } from "url"
import * as V8 from "v8"

const isNewEnough = (version: string): boolean => {
  const parts = version.split(".").map(Number)
  return parts[0]! > 22 || (parts[0] === 22 && parts[1]! >= 19)
}

/** The `node` of the package `node-<platform>-<arch>` beside us or above us; `undefined` when there is none new enough. */
const findNode = (): string | undefined => {
  const name = `node-${process.platform}-${process.arch}`
  try {
    const manifest = createRequire(import.meta.url).resolve(`${name}/package.json`)
    const { version }: { version: string } = JSON.parse(Fs.readFileSync(manifest, "utf8"))
    const node = Path.join(Path.dirname(manifest), "bin", "node")
    Fs.accessSync(node, Fs.constants.X_OK)
    return isNewEnough(version) ? node : undefined
  } catch {
    return undefined
  }
}

const fail = (line: string): void => {
  process.stderr.write(`sallyport: ${line}\n`)
  process.exitCode = 1
}

/** Why the node cannot be started, with the fix; costs milliseconds, as it ends before it has read anything. */
const obstacle = (node: string): string | undefined => {
  const { error, status, stderr } = ChildProcess.spawnSync(node, ["--version"], { encoding: "utf8", timeout: 10000 })
  if (error === undefined && status === 0) return undefined
  const library = /loading shared libraries: (\S+):/.exec(stderr || "")
  if (library === null)
    return `${node} cannot be started (${error ? error.message : stderr.trim()}) — install Node 22.19 or newer`
  const fix = library[1] === "libatomic.so.1" ? "sudo apt-get install libatomic1" : "install it"
  return `${node} needs the library ${library[1]}, which is missing — ${fix}`
}

/** Becomes the other node: who started us has it under the same number, and nothing stands between. */
const become = (node: string): void => {
  const args = [node, fileURLToPath(import.meta.url)].concat(process.argv.slice(2))
  const loaded =
    typeof process.execve === "function" ? Promise.resolve(process) : import("../layers/dataplane/native/execve.ts")
  loaded
    .then((able) => able.execve(node, args, process.env))
    .catch((error: unknown) => {
      fail(
        `${node} cannot be started (${error instanceof Error ? error.message : String(error)}) — install Node 22.19 or newer`
      )
    })
}

const start = (): void => {
  if (isNewEnough(process.versions.node)) {
    // Young objects stay within the first megabyte that they get, else it grows to 32: a collection holds every question
    // up for as long as it takes to copy what lives, so many small ones are better than a few of 10 ms and more.
    V8.setFlagsFromString("--semi-space-growth-factor=1")
    // The whole heap is collected when it is three times what lived, else every few megabytes: in the first seconds of a
    // crowd of clients those collections, and the threads that help with them, take the processors from the answers.
    V8.setFlagsFromString("--heap-growing-percent=200")
    import("../layers/main.ts")
      .then(({ main }) => main(process.argv.slice(2)))
      .catch((error: unknown) => {
        fail(`cannot start: ${error instanceof Error ? error.message : String(error)} — reinstall it`)
      })
    return
  }
  const node = findNode()
  const problem = node === undefined ? undefined : obstacle(node)
  if (problem !== undefined) fail(problem)
  else if (node !== undefined) become(node)
  else fail(`needs Node 22.19 or newer, this is ${process.versions.node} — install it, or run npm install beside us`)
}

start()
