/**
 * Preloaded (`--import`) by both ends of one of the bench's pairs: the cipher of transport packets is replaced by a copy,
 * which shows what everything else costs. Nothing of it is in the program itself.
 */
import { registerHooks } from "node:module"

const original = new URL("../../../layers/dataplane/native/primitives.ts", import.meta.url).href
const replacement = new URL("./copyPrimitives.ts", import.meta.url).href

registerHooks({
  resolve: (specifier, context, next) => {
    const found = next(specifier, context)
    return found.url === original && context.parentURL !== replacement ? { ...found, url: replacement } : found
  }
})
