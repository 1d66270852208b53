import { bind } from "./ffi.ts"
import { makeMemory } from "./memory.ts"

/** Whether some program keeps the host's clock right, by the kernel's own account (adjtimex(2)); it is only asked. */
export const isClockSynchronized = (): boolean => {
  const { arena, base } = makeMemory(1)
  // `modes` is the first field; 0: change nothing.
  const at = arena.reserve(sizeOfTimex)
  return bind("int adjtimex(uintptr_t)")(base + at) !== TIME_ERROR
}

const sizeOfTimex = 208
const TIME_ERROR = 5
