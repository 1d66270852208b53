/** `NameFiles` on files that are read again when they have changed. */
import { setImmediate } from "node:timers/promises"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as FiberHandle from "effect/FiberHandle"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import { BlockList, blockedBy, piecesOf } from "../../src/dns/BlockList.ts"
import { hostNames, parseHosts } from "../../src/dns/hosts.ts"
import { type FilesOfNames, NameFiles } from "../../src/host/NameFiles.ts"
import { superviseForever } from "../../src/loops/superviseForever.ts"
import { watchedFile } from "./watchedFile.ts"

export interface NameFilesOptions {
  /** Paths of block lists. */
  readonly block: ReadonlyArray<string>
  readonly hosts?: string
}

/** A change is noticed within this time. */
const lookEvery = "2 seconds"
/** The start waits for the files no longer than this: they count once they are read. */
const startPatience = "3 seconds"
/** A list that is not read by then, as on a mount that is dead, is told, and given up until the next look. */
const patience = "30 seconds"
const noAnswer = `no answer within ${patience}; those after it are not read either`

export const layer = ({ block, hosts = "/etc/hosts" }: NameFilesOptions): Layer.Layer<NameFiles> =>
  Layer.effect(
    NameFiles,
    Effect.gen(function* () {
      let entries = readEntries("")
      const lists = new Map<string, BlockList>()
      const readHosts = watchedFile(hosts, readEntries).pipe(
        // Without a hosts file DNS alone decides.
        Effect.orElseSucceed(() => readEntries("")),
        Effect.map((read) => void (entries = read))
      )
      const inUse = new Map<string, ListFile>()
      const readers = new Map<string, Effect.Effect<void, "NoAnswer">>()
      /** Not in use, and without an answer so far: who wants one of them waits for that answer, at no other thread. */
      const stuck = new Map<string, ListFile>()
      const fileOf = (path: string) => inUse.get(path) ?? stuck.get(path) ?? listFile(path)
      const setLists = (paths: ReadonlyArray<string>) => {
        for (const [path, file] of inUse) {
          if (paths.includes(path)) continue
          inUse.delete(path)
          readers.delete(path)
          lists.delete(path)
          if (file.isSilent()) stuck.set(path, file)
        }
        for (const path of paths) {
          if (inUse.has(path)) continue
          const file = fileOf(path)
          inUse.set(path, file)
          readers.set(path, listReader(path, file, lists))
          stuck.delete(path)
        }
      }
      const look = Effect.suspend(() => Effect.all([readHosts, ...readers.values()], { discard: true })).pipe(
        Effect.ignore,
        // One that was taken out while it was read.
        Effect.andThen(
          Effect.sync(() => {
            for (const path of lists.keys()) if (!readers.has(path)) lists.delete(path)
          })
        )
      )
      const looked = Deferred.makeUnsafe<void>()
      const turn = look.pipe(
        Effect.andThen(Deferred.succeed(looked, undefined)),
        Effect.andThen(Effect.sleep(lookEvery))
      )
      const run = yield* FiberHandle.makeRuntime<never>()
      const lookOn = () => void run(superviseForever("NameFiles.look", turn))
      setLists(block)
      lookOn()
      yield* Effect.timeoutOption(Deferred.await(looked), startPatience)
      const sum = (of: (list: BlockList) => number) => [...lists.values()].reduce((all, list) => all + of(list), 0)
      const files: FilesOfNames = {
        hosts: (domain) => entries.addresses.get(domain),
        hostOf: (address) => entries.names.get(address),
        blocked: (domain) => blockedBy(lists.values(), domain)
      }
      return NameFiles.of({
        ...files,
        withLists: Effect.fnUntraced(function* (paths: ReadonlyArray<string>) {
          const found: Array<BlockList> = []
          let isDead = false
          for (const path of paths) {
            const known = lists.get(path)
            if (known !== undefined) found.push(known)
            // One in use is tried again and again already.
            isDead ||= inUse.get(path)?.isSilent() === true
            if (known !== undefined || isDead) continue
            const file = fileOf(path)
            if (!inUse.has(path)) stuck.set(path, file)
            const read = yield* Effect.result(file.read)
            if (Result.isSuccess(read)) found.push(read.success)
            isDead = file.isSilent()
            if (!isDead) stuck.delete(path)
          }
          return { ...files, blocked: (domain: string) => blockedBy(found, domain) }
        }),
        setLists: (paths) => {
          // A look that is under way goes on.
          if (paths.length === readers.size && paths.every((path) => readers.has(path))) return
          setLists(paths)
          lookOn()
        },
        counters: Effect.sync(() => ({
          block_names: sum(({ size }) => size),
          block_bad_lines: sum(({ bad }) => bad),
          block_left_out: sum(({ leftOut }) => leftOut)
        }))
      })
    })
  )

const readEntries = (text: string) => {
  const addresses = parseHosts(text)
  return { addresses, names: hostNames(addresses) }
}

interface ListFile {
  /** Fails with why it cannot be read. */
  readonly read: Effect.Effect<BlockList, string>
  /** It did not answer when it was read last. */
  readonly isSilent: () => boolean
}

const listFile = (path: string): ListFile => {
  let isSilent = false
  const read = watchedFile(path, readList).pipe(
    Effect.timeoutOrElse({ duration: patience, orElse: () => Effect.fail(noAnswer) }),
    Effect.tap(() => Effect.sync(() => void (isSilent = false))),
    Effect.tapError((why) => Effect.sync(() => void (isSilent = why === noAnswer)))
  )
  return { read, isSilent: () => isSilent }
}

/**
 * Puts the list's contents into `lists` when they are new. A list that cannot be read stays as it was, and is told once.
 * Fails where none after it is to be tried, as each on a dead mount would hold a thread.
 */
const listReader = (
  path: string,
  { read }: ListFile,
  lists: Map<string, BlockList>
): Effect.Effect<void, "NoAnswer"> => {
  let unreadable: string | null = null
  return read.pipe(
    Effect.matchEffect({
      onSuccess: (list) => {
        unreadable = null
        if (lists.get(path) === list) return Effect.void
        lists.set(path, list)
        return tellList(path, list)
      },
      onFailure: Effect.fnUntraced(function* (why) {
        const isNew = unreadable !== why
        unreadable = why
        const kept = lists.has(path) ? "what it said before counts" : "nothing is blocked by it"
        const line = `the block list ${path} cannot be read (${why}): ${kept}; check block: in the file`
        if (isNew) yield* Effect.logWarning(line)
        if (why === noAnswer) return yield* Effect.fail("NoAnswer" as const)
      })
    })
  )
}

const tellList = (path: string, { bad, firstBad, leftOut, size }: BlockList): Effect.Effect<void> =>
  Effect.gen(function* () {
    yield* Effect.logInfo(`block list ${path}: ${size} names`)
    if (bad > 0) {
      yield* Effect.logWarning(
        `block list ${path}: ${bad} of its lines make no sense, the first is line ${firstBad}; write 0.0.0.0 and names, or a domain`
      )
    }
    if (leftOut > 0) yield* Effect.logWarning(`block list ${path}: ${leftOut} names do not fit and are not blocked`)
  })

/** Questions and lookups go on meanwhile. */
const readList = async (text: string): Promise<BlockList> => {
  const list = new BlockList()
  for (const piece of piecesOf(text)) {
    list.add(piece)
    await setImmediate()
  }
  return list
}
