/** Finds the one of a site's PostgreSQL hosts that may be written to, and proves who it is before it is told anything. */
import { X509Certificate } from "node:crypto"
import { lookup } from "node:dns/promises"
import { isIP } from "node:net"
import * as Tls from "node:tls"
import type * as PgConnection from "@effect/sql-pg/PgConnection"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import { optional } from "../../src/config/environment.ts"
import type { PostgresAddress } from "../../src/config/postgresAddress.ts"
import { readBounded } from "../../src/config/readConfig.ts"
import { SharedStoreError } from "../../src/shared/SharedStore.ts"
import { authorities } from "../host/tlsAuthorities.ts"
import { explainSql, sharedStoreError } from "./explainSql.ts"
import { channel } from "./revisions.ts"
import { openSession, type Session, type Work } from "./Session.ts"

/** Until a host has said who it is; and until its name is resolved. */
const connectMs = 3_000

/** One after the other in the order of the address; the session is the first writable one's, and ends with the scope. */
export const connect = Effect.fnUntraced(function* (
  address: PostgresAddress
): Effect.fn.Return<Session, SharedStoreError, FileSystem.FileSystem | Scope.Scope> {
  const password = yield* readPassword(address)
  const secureContext = address.tls ? yield* readAuthorities(address) : null
  const problems: Array<SharedStoreError> = []
  for (const { host, port } of address.hosts) {
    const at = `${host.includes(":") ? `[${host}]` : host}:${port}`
    const found = yield* Effect.result(lookUp(at, host))
    if (Result.isFailure(found)) problems.push(found.failure)
    for (const literal of Result.getOrElse(found, () => [])) {
      const config: PgConnection.Config = {
        host: literal,
        port,
        username: address.user,
        database: address.database,
        // An address is no server name (RFC 6066 §3); the certificate is for it all the same.
        ssl: secureContext === null ? false : { secureContext, ...(host === literal ? {} : { servername: host }) },
        password: password ?? undefined,
        connectTimeout: connectMs,
        applicationName: "sallyport"
      }
      const tried = yield* Effect.result(openSession(at, config, channel, greet(at)))
      if (Result.isSuccess(tried)) return tried.success
      problems.push(tried.failure)
    }
  }
  return yield* new SharedStoreError({
    // A name may have addresses at which nobody is.
    reason: problems.find(({ reason }) => reason !== "Unreachable")?.reason ?? "Unreachable",
    message: problems.map(({ message }) => message).join("; ")
  })
})

/** The first address of each family, in the order of the system. */
const lookUp = (at: string, host: string): Effect.Effect<ReadonlyArray<string>, SharedStoreError> => {
  if (isIP(host) !== 0) return Effect.succeed([host])
  const asked = Effect.tryPromise({ try: () => lookup(host, { all: true }), catch: (cause) => explainSql(at, cause) })
  return Effect.forkDetach(oneLookUp.withPermitsIfAvailable(1)(asked)).pipe(
    Effect.flatMap(Fiber.join),
    Effect.timeoutOrElse({ duration: connectMs, orElse: () => Effect.succeedNone }),
    Effect.flatMap((found) => (Option.isSome(found) ? Effect.succeed(found.value) : Effect.fail(unresolved(at)))),
    Effect.map((found) =>
      [...new Map(found.toReversed().map(({ address, family }) => [family, address])).values()].toReversed()
    )
  )
}
/**
 * Each takes one of the few threads in which the state is put on the disk, too, for as long as the system's resolver waits,
 * whether anybody waits for it or not.
 */
const oneLookUp = Semaphore.makeUnsafe(1)
const unresolved = (at: string) =>
  sharedStoreError("Unreachable", at, "nobody tells its address in time", "see DNS, or name the address instead")

/** The one that is written to is wanted, and no other one is of any use. */
const greet =
  (at: string): Work<void> =>
  (query) =>
    Effect.gen(function* () {
      const [{ read_only, standby }] = yield* decodeGreeting(yield* query(greeting))
      if (standby) return yield* sharedStoreError("Standby", at, "it is a standby", "promote it, or name the primary")
      if (read_only) {
        return yield* sharedStoreError(
          "Unreachable",
          at,
          "it is read-only",
          "make it writable, or name the one that is"
        )
      }
    })

/**
 * Limits of the server's own: a gateway that stands still in the middle of a transaction, or takes no more of an answer, must
 * not hold the others up; a statement that nobody waits for any more ends; and of a gateway that has gone without a word
 * nothing stays. The others are what revisions rest on, whatever the database's own settings are.
 */
const greeting = `
  SELECT pg_is_in_recovery() AS standby, current_setting('default_transaction_read_only') = 'on' AS read_only,
    set_config('statement_timeout', '4000', false), set_config('lock_timeout', '4000', false),
    set_config('idle_in_transaction_session_timeout', '2000', false), set_config('tcp_user_timeout', '5000', false),
    (SELECT set_config(name, '5000', false) FROM pg_settings WHERE name = 'idle_session_timeout'), -- from 14 on
    set_config('default_transaction_isolation', 'read committed', false), set_config('search_path', 'pg_catalog', false),
    (SELECT set_config(name, 'on', false) FROM pg_settings WHERE name = 'synchronous_commit' AND setting = 'off')
`
const decodeGreeting = Schema.decodeUnknownEffect(
  Schema.Tuple([Schema.Struct({ standby: Schema.Boolean, read_only: Schema.Boolean })])
)

/** Read for each connection: a new one counts without a restart. */
const readPassword = Effect.fnUntraced(function* ({ passwordFile }: PostgresAddress) {
  const text = passwordFile === null ? yield* optional("PGPASSWORD") : (yield* read(passwordFile)).replace(/\r?\n$/, "")
  return text === null ? null : Redacted.make(text, { label: "PostgreSQL password" })
})

const readAuthorities = Effect.fnUntraced(function* ({ authorities: file }: PostgresAddress) {
  if (file === null) return authorities()
  const ca = yield* read(file)
  return yield* Effect.try({
    try: () => {
      // A context takes any text, and then believes nobody: this throws.
      void new X509Certificate(ca)
      return Tls.createSecureContext({ ca, minVersion: "TLSv1.2" })
    },
    catch: () =>
      new SharedStoreError({
        reason: "Refused",
        message: `${file} holds no certificates — name a file in PEM format behind sslrootcert=`
      })
  })
})

const read = (file: string) =>
  Effect.mapError(readBounded(file), ({ message }) => new SharedStoreError({ reason: "Refused", message }))
