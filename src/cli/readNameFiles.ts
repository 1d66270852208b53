/** Files that others write, and that say something of names, for commands: a gateway has `NameFiles`. */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Result from "effect/Result"
import type { GatewayConfig } from "../config/GatewayConfig.ts"
import { BlockList, blockedBy } from "../dns/BlockList.ts"
import { hostNames, parseHosts } from "../dns/hosts.ts"
import type { FilesOfNames } from "../host/NameFiles.ts"

/** What the gateway reads of a file that others write. */
const longest = 64n << 20n
/** A mount that is dead never answers. Each further file on it would be waited for, too, and hold a thread. */
const patience = "5 seconds"
export const noAnswer = `does not answer within ${patience}`

/** The text of a hosts file, a resolv.conf or a block list, or why there is none. */
export const readNameFile = Effect.fnUntraced(
  function* (path: string) {
    const fs = yield* FileSystem.FileSystem
    const info = yield* fs.stat(path)
    if (info.type !== "File") return yield* Effect.fail("is no file")
    if (info.size > longest) return yield* Effect.fail("is longer than 64 MiB")
    return yield* fs.readFileString(path)
  },
  Effect.timeoutOrElse({ duration: patience, orElse: () => Effect.fail(noAnswer) }),
  Effect.mapError((error) =>
    typeof error === "string"
      ? error
      : error.reason._tag === "NotFound"
        ? "does not exist"
        : `cannot be read (${error.reason._tag})`
  ),
  Effect.result
)

/** The block lists and the hosts file as they are now. What cannot be read says nothing of any name. */
export const readNameFiles = Effect.fnUntraced(function* (
  block: GatewayConfig["block"]
): Effect.fn.Return<FilesOfNames, never, FileSystem.FileSystem> {
  const lists: Array<BlockList> = []
  for (const path of block) {
    const text = yield* readNameFile(path)
    if (Result.isFailure(text) && text.failure === noAnswer) break
    if (Result.isFailure(text)) continue
    const list = new BlockList()
    list.add(text.success)
    lists.push(list)
  }
  const hosts = parseHosts(Result.getOrElse(yield* readNameFile("/etc/hosts"), () => ""))
  const names = hostNames(hosts)
  return {
    blocked: (domain) => blockedBy(lists, domain),
    hosts: (domain) => hosts.get(domain),
    hostOf: (address) => names.get(address)
  }
})
