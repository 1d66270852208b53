import { getHeapStatistics, setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"

setFlagsFromString("--expose-gc")
const collect = runInNewContext("gc") as () => void

/** Bytes that this thread holds on to, outside of the heap too. */
export const memoryInUse = (): number => {
  collect()
  const { external_memory, used_heap_size } = getHeapStatistics()
  return used_heap_size + external_memory
}
