/**
 * Several C functions with one crossing from JavaScript: going over costs as much as a short function does, and a packet
 * takes ten of them. A list of calls lies in memory, and a few instructions of machine code work it off: on x86-64, where
 * the system lets a program make code. Elsewhere the calls of a list are made one by one.
 */
import process from "node:process"
import { bind, bindAt } from "./ffi.ts"
import { makeMemory, type NativeMemory } from "./memory.ts"
import { makeSingleCalls, maxArguments } from "./singleCalls.ts"

export interface CallList {
  /** Changes one argument of one call, both counted from 0. */
  readonly set: (call: number, argument: number, value: number) => void
  readonly run: () => void
}

/** A function's address (`addressOfFunction`), then its arguments: at most five integers or pointers. */
type Call = readonly [address: number, ...args: ReadonlyArray<number>]

/** Where a C function of this process begins; throws when the process does not export it. */
export const addressOfFunction = (name: string): number => {
  const address = dlsym(0, name)
  if (address === 0) throw new Error(`this process does not export ${name}`)
  return address
}

/** Makes lists: with one crossing for all calls of a list where that can be, else with one for each. */
export const makeCallLists = (memory: NativeMemory): MakeCallList => {
  if (runner === undefined) {
    try {
      runner = makeRunner()
    } catch {
      runner = null
    }
  }
  return runner === null ? makeSingleCalls : makeJoinedCalls(memory, runner)
}

export type MakeCallList = (calls: ReadonlyArray<Call>) => CallList

const makeJoinedCalls = ({ arena, base, memory }: NativeMemory, runAt: (list: number) => void): MakeCallList => {
  const words = new Int32Array(memory.buffer)
  return (calls) => {
    const at = arena.reserve((calls.length + 1) * callBytes)
    const pointer = base + at
    const write = (word: number, value: number): void => {
      words[word] = value | 0
      words[word + 1] = Math.floor(value / 4_294_967_296)
    }
    arena.bytes.fill(0, at, at + (calls.length + 1) * callBytes)
    for (const [i, call] of calls.entries()) {
      for (const [j, value] of call.entries()) write((at + i * callBytes + j * 8) >> 2, value)
    }
    return {
      set: (call, argument, value) => write((at + call * callBytes + argument * 8 + 8) >> 2, value),
      run: () => runAt(pointer)
    }
  }
}

/** A function and its arguments, 8 bytes each; a list ends with an address of zero. */
const callBytes = 8 + 8 * maxArguments

const dlsym = bind("uintptr_t dlsym(uintptr_t, str)")

/** System V calling convention: the list's address comes in %rdi. */
const machineCode = Buffer.from(
  [
    "f30f1efa", //       endbr64
    "53", //             push   %rbx              (aligns the stack, too)
    "4889fb", //         mov    %rdi, %rbx
    "488b03", //   next: mov    (%rbx), %rax
    "4885c0", //         test   %rax, %rax
    "741c", //           je     end
    "488b7b08", //       mov    8(%rbx), %rdi
    "488b7310", //       mov    16(%rbx), %rsi
    "488b5318", //       mov    24(%rbx), %rdx
    "488b4b20", //       mov    32(%rbx), %rcx
    "4c8b4328", //       mov    40(%rbx), %r8
    "4883c330", //       add    $48, %rbx
    "ffd0", //           call   *%rax
    "ebdc", //           jmp    next
    "5b", //        end: pop    %rbx
    "c3" //              ret
  ].join(""),
  "hex"
)

/** One page, written first and executable after that, never both at once. It goes with its thread, as all memory does. */
const makeRunner = (): ((list: number) => void) => {
  if (process.platform !== "linux" || process.arch !== "x64") throw new Error("no machine code for this processor")
  const mprotect = bind("int mprotect(uintptr_t, size_t, int)")
  const { arena, base } = makeMemory(1)
  const at = arena.reserve(pageBytes, pageBytes)
  arena.bytes.set(machineCode, at)
  if (mprotect(base + at, pageBytes, PROT_READ | PROT_EXEC) !== 0) throw new Error("the system lets nobody make code")
  return bindAt(base + at, 1)
}

/** Of this thread; `null` where there can be none. */
let runner: ((list: number) => void) | null | undefined

const pageBytes = 4_096
const PROT_READ = 1
const PROT_EXEC = 4
