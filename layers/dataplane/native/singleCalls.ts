import type { MakeCallList } from "./callList.ts"
import { bindAt } from "./ffi.ts"

export const maxArguments = 5

/** Each call crosses over by itself. */
export const makeSingleCalls: MakeCallList = (calls) => {
  const functions = calls.map(([address]) => bindAt(address, maxArguments))
  const given = calls.map(([, ...args]) => Float64Array.from({ length: maxArguments }, (_, i) => args[i] ?? 0))
  return {
    set: (call, argument, value) => {
      given[call]![argument] = value
    },
    run: () => {
      for (let i = 0; i < functions.length; i++) {
        const args = given[i]!
        functions[i]!(args[0]!, args[1]!, args[2]!, args[3]!, args[4]!)
      }
    }
  }
}
