/** The live `Primitives` but for transport packets, which are copied and believed. */
import { makeNativeChecksum } from "../../../layers/dataplane/native/checksum.ts"
import type { NativeMemory } from "../../../layers/dataplane/native/memory.ts"
import * as live from "../../../layers/dataplane/native/primitives.ts"
import type { Primitives } from "../../../src/wireguard/primitives.ts"

export const makePrimitives = (
  memory: NativeMemory
): { readonly primitives: Primitives; readonly warning: string | null } => {
  const { primitives, warning } = live.makePrimitives(memory)
  const { copy } = makeNativeChecksum(memory)
  return {
    warning,
    primitives: {
      ...primitives,
      aead: (key) => {
        const real = primitives.aead(key)
        return {
          ...real,
          seal: (_, src, length, dst) => copy(dst, src, length),
          open: (_, offset, length) => {
            // As many bytes are touched as a cipher would, in place.
            copy(offset, offset, length)
            return true
          }
        }
      }
    }
  }
}
