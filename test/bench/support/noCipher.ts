/**
 * Preloaded (`--import`) by both ends of one of the bench's pairs: the cipher of transport packets is replaced by a copy,
 * which shows what everything else costs. Nothing of it is in the program itself.
 */
import { registerHooks } from "node:module"

const replacement = new URL("./copyPrimitives.ts", import.meta.url).href

registerHooks({
  resolve: (specifier, context, next) => {
    const found = next(specifier, context)
    const replaced = found.url.endsWith("/layers/dataplane/native/primitives.ts") && context.parentURL !== replacement
    return replaced ? { ...found, url: replacement } : found
  }
})
