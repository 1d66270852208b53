import * as Effect from "effect/Effect"
import type { Visitor } from "./company.ts"
import { line, wrong } from "./telling.ts"

const downloadBytes = 8 * 1024 * 1024

/** The step that both stories have: that many bytes through the tunnel, with the right checksum. Yields how many came. */
export const download = Effect.fnUntraced(function* (visitor: Visitor, proxy: string) {
  const page = yield* visitor.get({ address: proxy, path: `/bytes/${downloadBytes}`, timeout: 60_000 })
  const sum = page.sha256.slice(0, 12)
  if (page.bytes !== downloadBytes || page.sha256 !== page.expected) {
    return yield* wrong("download", `${page.bytes} of ${downloadBytes} bytes came, checksum ${sum}…`)
  }
  yield* line("client", `downloads ${page.bytes / 1024 / 1024} MiB, SHA-256 ${sum}… is right`, true)
  return page.bytes
})
