/** What becomes of the connection to a site's PostgreSQL: which host, who proves what, and what happens when it fails. */
import { assert, describe, it } from "@effect/vitest"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { ConfigProvider, Effect, Exit, Fiber, Logger, Queue, Scope } from "effect"
import * as fs from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { askHosts } from "../../../layers/postgres/askHosts.ts"
import { connect } from "../../../layers/postgres/connect.ts"
import { changing, prune } from "../../../layers/postgres/revisions.ts"
import type { PostgresAddress } from "../../../src/config/postgresAddress.ts"
import type { SharedStoreError } from "../../../src/shared/SharedStore.ts"
import { certificateAuthority } from "../../support/certificates.ts"
import { cuttableWay } from "../../support/cuttableWay.ts"
import { ofFile } from "../../support/ofFile.ts"
import { type Postgres, startPostgres } from "../../support/postgres.ts"
import {
  addressOf,
  isConnected,
  live,
  makeStore,
  openStore,
  put,
  readOn,
  released,
  signIn,
  type Store,
  tenBlocks,
  until
} from "../../support/sharedStore.ts"

const password = "correct horse battery"

/** Nobody ends or suspends this one. */
const postgres = ofFile(startPostgres())

const guarded = ofFile(
  Effect.gen(function* () {
    const folder = yield* Effect.acquireRelease(
      Effect.sync(() => fs.mkdtempSync(join(tmpdir(), "sallyport-guarded-"))),
      (path) => Effect.sync(() => fs.rmSync(path, { recursive: true }))
    )
    const authority = yield* certificateAuthority
    fs.writeFileSync(join(folder, "ca.pem"), authority.cert)
    fs.writeFileSync(join(folder, "password"), `${password}\n`)
    const certificate = yield* Effect.promise(() => authority.issue("DNS:localhost"))
    return { server: yield* startPostgres({ password, certificate }), folder }
  })
)

/** Why a connection attempt fails. */
const refusal = (address: PostgresAddress): Effect.Effect<SharedStoreError> =>
  connect(address).pipe(Effect.scoped, Effect.flip, Effect.provide(NodeServices.layer), Effect.orDie)

const session = (address: PostgresAddress) => Effect.provide(connect(address), NodeServices.layer)

const trouble = (store: Store) =>
  Effect.map(store.status, (status) => (status._tag === "Away" ? status.error.message : null))
const isAway = (store: Store) => until(Effect.map(store.status, ({ _tag }) => _tag === "Away"))

/** What the primary has now, the standby has, too. */
const hasAll = Effect.fnUntraced(function* (standby: Postgres, primary: Postgres) {
  const position = yield* primary.sql("SELECT pg_current_wal_lsn()")
  yield* until(Effect.map(standby.sql(`SELECT pg_last_wal_replay_lsn() >= '${position}'`), (has) => has === "t"))
})

/** All that is logged meanwhile. */
const logged = Effect.fnUntraced(function* <A, E, R>(body: Effect.Effect<A, E, R>) {
  const lines: Array<string> = []
  const logger = Logger.map(Logger.formatLogFmt, (line) => void lines.push(line))
  yield* Effect.provide(body, Logger.layer([logger]))
  return lines.join("\n")
})

describe("the connection to a site's PostgreSQL", { timeout: 60_000 }, () => {
  it.effect("brings news by itself: no time has to go by", () =>
    Effect.gen(function* () {
      const layer = live(addressOf(yield* postgres.database, postgres))
      const [a, b] = [yield* openStore(layer), yield* openStore(layer)]
      yield* Queue.take(b.news)

      yield* a.write([put(1)])

      yield* Queue.take(b.news)
    })
  )

  it.live("makes a gateway of one process at a time: another one is told what to do, until that one has ended", () =>
    Effect.gen(function* () {
      const layer = live(addressOf(yield* postgres.database, postgres))
      const copy = yield* openStore(layer)
      yield* Effect.scoped(
        Effect.gen(function* () {
          const first = yield* openStore(layer)
          yield* first.signIn(signIn("a"))
          yield* copy.signIn(signIn("b"))

          const { message, reason } = yield* Effect.flip(copy.signIn(signIn("a")))

          assert.strictEqual(reason, "Taken")
          assert.match(
            message,
            /another process is gateway 0 of the site at this moment — stop it, or .*sallyport restore/
          )
          // Who is there already comes again, and tells all that it has to tell.
          yield* first.signIn(signIn("a"))
          yield* first.write([put(1)])
        })
      )
      yield* isConnected(copy)
      yield* until(Effect.map(Effect.result(copy.signIn(signIn("a"))), ({ _tag }) => _tag === "Success"))
    })
  )

  it.live("brings news that nobody has told of, a moment later", () =>
    Effect.gen(function* () {
      const database = yield* postgres.database
      const store = yield* openStore(live(addressOf(database, postgres)))
      yield* Queue.take(store.news)

      yield* postgres.sql("INSERT INTO sallyport.revision DEFAULT VALUES", database)

      yield* Queue.take(store.news)
    })
  )

  it.live("is made again after it was cut, and what came meanwhile is read on, not anew", () =>
    Effect.gen(function* () {
      const database = yield* postgres.database
      const way = yield* cuttableWay(postgres.port)
      const a = yield* openStore(live(addressOf(database, postgres)))
      const b = yield* openStore(live(addressOf(database, { ...postgres, port: way.port })))
      yield* a.write([put(1), put(2)])
      const { cursor } = yield* readOn(b, null)
      yield* Queue.clear(b.news)

      yield* way.cut
      yield* isAway(b)
      const failure = yield* Effect.flip(b.read(0, cursor))
      yield* a.write([put(3), released(2)])
      yield* way.mend

      yield* Queue.take(b.news)
      const after = yield* readOn(b, cursor)
      assert.sameDeepMembers(after.changes, [put(3), released(2)])
      assert.isFalse(after.anew)
      assert.strictEqual(failure.reason, "Unreachable")
      assert.match(failure.message, /^PostgreSQL 127\.0\.0\.1:\d+: [^\n]+ — [^\n]+$/)
    })
  )

  it.live("is to the host that may be written to, and to the other one when that has taken over", () =>
    Effect.gen(function* () {
      const primary = yield* startPostgres()
      const database = yield* primary.database
      const standby = yield* startPostgres({ standbyOf: primary })
      const address = addressOf(database, standby, primary)
      for (const host of ["127.0.0.1", "localhost"]) {
        const named = { ...address, hosts: address.hosts.map(({ port }) => ({ host, port })) }
        const asked = yield* Effect.provide(askHosts(named), NodeServices.layer)
        assert.deepStrictEqual(
          asked.map(({ at, isStandby, problem }) => [at, isStandby, problem === null]),
          [
            [`${host}:${standby.port}`, true, false],
            [`${host}:${primary.port}`, false, true]
          ]
        )
      }
      const store = yield* openStore(live(addressOf(database, standby, primary)))
      assert.include(yield* store.status, { _tag: "Connected", at: `127.0.0.1:${primary.port}` })
      yield* store.write([put(1)])
      const { cursor } = yield* readOn(store, null)
      yield* hasAll(standby, primary)

      yield* primary.kill
      yield* isAway(store)
      yield* until(Effect.map(trouble(store), (message) => message?.includes("it is a standby") === true))
      yield* standby.promote

      yield* isConnected(store)
      assert.include(yield* store.status, { at: `127.0.0.1:${standby.port}` })
      yield* store.write([put(2)])
      const after = yield* readOn(store, cursor)
      assert.deepStrictEqual([after.anew, after.changes], [false, [put(2)]])
    })
  )

  it.live("makes everybody read anew when the one that took over had been behind", () =>
    Effect.gen(function* () {
      const primary = yield* startPostgres()
      const database = yield* primary.database
      const standby = yield* startPostgres({ standbyOf: primary })
      const store = yield* openStore(live(addressOf(database, primary, standby)))
      yield* store.write([put(1)])
      yield* hasAll(standby, primary)
      yield* standby.kill
      yield* store.write([put(2)])
      const { cursor } = yield* readOn(store, null)

      yield* primary.kill
      yield* standby.start
      yield* standby.promote

      yield* isConnected(store)
      yield* until(Effect.isSuccess(store.write([put(3)])))
      const after = yield* readOn(store, cursor)
      assert.isTrue(after.anew)
      assert.deepStrictEqual(after.changes, [put(1), put(3)])
    })
  )

  it.live("has nobody signed in any more when PostgreSQL was started anew", () =>
    Effect.gen(function* () {
      const server = yield* startPostgres()
      const layer = live(addressOf(yield* server.database, server))
      const [a, b] = [yield* openStore(layer), yield* openStore(layer)]
      yield* a.signIn(signIn("berlin"))
      yield* b.signIn(signIn("paris"))
      const before = yield* a.lease(0, tenBlocks)

      yield* server.kill
      yield* Effect.all([isAway(a), isAway(b)])
      yield* server.start
      yield* Effect.all([isConnected(a), isConnected(b)])
      const { cursor } = yield* readOn(a, null)
      yield* a.signIn(signIn("berlin", { gateway: 0, cursor }))
      const alone = yield* a.lease(0, tenBlocks)
      yield* b.signIn(signIn("paris", { gateway: 1, cursor }))

      assert.deepStrictEqual([before, alone, yield* a.lease(0, tenBlocks)], [0, null, 1])
    })
  )

  it.live("fails what is asked for when nothing answers, at once from then on, and is there again when it does", () =>
    Effect.gen(function* () {
      const server = yield* startPostgres()
      const address = addressOf(yield* server.database, server)
      const store = yield* openStore(live(address))

      yield* server.suspend
      const first = yield* Effect.flip(store.write([put(1)]))
      const next = yield* Effect.flip(store.write([put(2)]))
      const connecting = yield* refusal(address)
      yield* server.resume

      assert.strictEqual(first.reason, "Silent")
      assert.match(first.message, /no answer within 5 s — see whether it hangs/)
      assert.match(next.message, /no answer within/)
      assert.match(connecting.message, /Connection timed out — see whether it hangs/)
      yield* isConnected(store)
      yield* until(Effect.isSuccess(store.write([put(3)])))
    })
  )

  it.live("lets go of a caller, and ends with its gateway, at once, even when nothing answers", () =>
    Effect.gen(function* () {
      const server = yield* startPostgres()
      const own = yield* Scope.make()
      const store = yield* Scope.provide(openStore(live(addressOf(yield* server.database, server))), own)
      yield* server.suspend

      const began = performance.now()
      yield* Effect.timeoutOption(store.write([put(1)]), "100 millis")
      yield* Scope.close(own, Exit.void)

      // The driver would wait for 5 s for the end of a statement.
      assert.isBelow(performance.now() - began, 4_000)
    })
  )

  it.live("does not let a gateway that stands still in the middle of a change hold up the others", () =>
    Effect.gen(function* () {
      const address = addressOf(yield* postgres.database, postgres)
      const store = yield* openStore(live(address))
      const still = yield* session(address)
      yield* Effect.forkChild(still.run((query) => changing(query, Effect.never)))
      yield* until(
        Effect.map(
          postgres.sql(
            `SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database
             WHERE locktype = 'advisory' AND datname = '${address.database}'`
          ),
          (count) => count === "1"
        )
      )

      assert.deepStrictEqual(yield* store.write([put(1)]), [])
    })
  )

  it.live("leaves nothing behind when the gateway stops, in the middle of an answer or of nothing", () =>
    Effect.gen(function* () {
      const address = addressOf(yield* postgres.database, postgres)
      const way = yield* cuttableWay(postgres.port)
      const there = addressOf(address.database, { ...postgres, port: way.port })
      const store = yield* openStore(live(address))
      const reading = yield* session(there)
      yield* session(there)
      const sessions = (which: string) =>
        postgres.sql(`SELECT count(*) FROM pg_stat_activity WHERE datname = '${address.database}' AND ${which}`)
      const long = "SELECT repeat('x', 100000) FROM generate_series(1, 10000)"

      yield* Effect.forkChild(reading.run((query) => changing(query, query(long))))
      yield* until(Effect.map(sessions("query = $$" + long + "$$"), (count) => count === "1"))
      yield* way.stall
      yield* until(Effect.map(sessions("wait_event = 'ClientWrite'"), (count) => count === "1"))

      yield* until(Effect.isSuccess(store.write([put(1)])))
      yield* until(Effect.map(sessions("true"), (count) => count === "1"))
    })
  )

  it.live("does not depend on what the database does by default", () =>
    Effect.gen(function* () {
      const address = addressOf(yield* postgres.database, postgres)
      for (const [name, value] of [
        ["default_transaction_isolation", "serializable"],
        ["synchronous_commit", "off"],
        ["search_path", "public, pg_catalog"]
      ] as const) {
        yield* postgres.sql(`ALTER DATABASE ${address.database} SET ${name} = ${value}`)
      }
      yield* postgres.sql(
        "CREATE FUNCTION public.now() RETURNS timestamptz LANGUAGE sql AS $$ SELECT timestamptz '1970-01-01' $$",
        address.database
      )
      const [a, b] = [yield* openStore(live(address)), yield* openStore(live(address))]

      const all = Array.from({ length: 10 }, (_, i) => (i % 2 === 0 ? a : b).write([put(1)]))
      yield* Effect.all(all, { concurrency: "unbounded", discard: true })

      assert.isAbove((yield* readOn(a, null)).dateMs, Date.UTC(2020))
      const { run } = yield* session(address)
      assert.deepStrictEqual(yield* run((query) => query("SHOW synchronous_commit")), [{ synchronous_commit: "on" }])
    })
  )

  it.live("says that nobody may write, until somebody may", () =>
    Effect.gen(function* () {
      const server = yield* startPostgres()
      const store = yield* openStore(live(addressOf(yield* server.database, server)))
      const setting = (value: string) =>
        Effect.andThen(
          server.sql(`ALTER SYSTEM SET default_transaction_read_only = ${value}`),
          server.sql("SELECT pg_reload_conf()")
        )

      yield* setting("on")
      yield* until(Effect.isFailure(store.write([put(1)])))
      yield* until(Effect.map(trouble(store), (message) => message?.includes("it is read-only") === true))
      yield* setting("off")

      yield* isConnected(store)
      yield* until(Effect.isSuccess(store.write([put(1)])))
    })
  )

  it.live("is not made to tables of a newer version, which stay as they are", () =>
    Effect.gen(function* () {
      const database = yield* postgres.database
      yield* Effect.scoped(openStore(live(addressOf(database, postgres))))
      yield* postgres.sql("UPDATE sallyport.schema_version SET version = 99", database)

      const store = yield* makeStore(live(addressOf(database, postgres)))

      yield* until(Effect.map(trouble(store), (message) => message?.includes("newer version's (schema 99") === true))
      assert.include(yield* Effect.flip(store.write([put(1)])), { reason: "Newer" })
      assert.strictEqual(yield* postgres.sql("SELECT version FROM sallyport.schema_version", database), "99")
    })
  )

  it.live("has its tables made once, however many gateways come first", () =>
    Effect.gen(function* () {
      const database = yield* postgres.database
      // Counts those as well that fail or are taken back.
      yield* postgres.sql(
        `CREATE SEQUENCE public.made;
         CREATE FUNCTION public.count() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER
         AS $$ BEGIN PERFORM nextval('public.made'); END $$;
         CREATE EVENT TRIGGER made ON ddl_command_start WHEN TAG IN ('CREATE SCHEMA', 'CREATE TABLE')
         EXECUTE FUNCTION public.count()`,
        database
      )

      const layer = live(addressOf(database, postgres))
      yield* Effect.forEach([1, 2, 3, 4], () => openStore(layer), { concurrency: "unbounded", discard: true })

      const there = yield* postgres.sql("SELECT 1 + count(*) FROM pg_tables WHERE schemaname = 'sallyport'", database)
      assert.strictEqual(yield* postgres.sql("SELECT last_value FROM public.made", database), there)
    })
  )

  it.live("finds tables where a schema was made for it, and says whose right is missing where none was", () =>
    Effect.gen(function* () {
      const database = yield* postgres.database
      yield* postgres.sql(`ALTER DATABASE ${database} OWNER TO postgres`)
      const store = yield* makeStore(live(addressOf(database, postgres)))
      yield* until(Effect.map(trouble(store), (message) => message?.includes("permission denied") === true))
      assert.match(String(yield* trouble(store)), /let the user of the address own the database, or its schema/)

      yield* postgres.sql("CREATE SCHEMA sallyport AUTHORIZATION sallyport", database)

      yield* isConnected(store)
    })
  )

  for (const [what, nonsense] of [
    ["make no sense", "E'a line\\nand another one'"],
    ["are long", "repeat('x', 2000)"],
    ["are longer than a message of PostgreSQL may be", "repeat('x', 20000000)"]
  ]) {
    it.live(`leaves rows out that ${what}, and says so`, () =>
      Effect.gen(function* () {
        const database = yield* postgres.database
        const store = yield* openStore(live(addressOf(database, postgres)))
        yield* store.write([put(1), put(2), put(3)])
        yield* postgres.sql(`UPDATE sallyport.mapping SET domain = ${nonsense} WHERE slot = 2`, database)

        const lines = yield* logged(
          Effect.gen(function* () {
            assert.deepStrictEqual((yield* readOn(store, null)).changes, [put(1), put(3)])
          })
        )

        assert.match(lines, /a row is left out/)
        assert.isBelow(lines.length, 1_000)
        assert.lengthOf(yield* store.write([put(2)]), 1)
      })
    )
  }

  it.live("goes on where a revision of a row is none, and says where that of the site itself is", () =>
    Effect.gen(function* () {
      const database = yield* postgres.database
      const store = yield* openStore(live(addressOf(database, postgres)))
      yield* store.write([put(1), put(2)])
      yield* postgres.sql("UPDATE sallyport.mapping SET rev = 9223372036854775807 WHERE slot = 2", database)
      assert.deepStrictEqual((yield* readOn(store, null)).changes, [put(1)])

      yield* postgres.sql(
        "INSERT INTO sallyport.revision (rev) OVERRIDING SYSTEM VALUE VALUES (9007199254740993)",
        database
      )

      yield* until(
        Effect.map(trouble(store), (message) => /tables makes no sense: .* — see what else/.test(String(message)))
      )
    })
  )

  it.live("leaves an entry of the directory out that makes no sense, and goes on with the others", () =>
    Effect.gen(function* () {
      const database = yield* postgres.database
      const store = yield* openStore(live(addressOf(database, postgres)))
      yield* store.signIn(signIn("berlin"))
      yield* store.extendDirectory(() => [1, 2].map((slot) => ({ domain: `n${slot}.example`, slot })))
      yield* postgres.sql("UPDATE sallyport.directory SET domain = repeat('x', 2000) WHERE slot = 2", database)

      yield* store.extendDirectory((known) => [2, 3].map((slot) => ({ domain: `m${slot + known.size}.example`, slot })))

      const { directory } = yield* readOn(store, null)
      assert.deepStrictEqual(directory, [
        { domain: "n1.example", slot: 1 },
        { domain: "m4.example", slot: 3 }
      ])
    })
  )

  it.live("reads a revision as a whole, though no page should be as long", () =>
    Effect.gen(function* () {
      const database = yield* postgres.database
      const store = yield* openStore(live(addressOf(database, postgres)))
      yield* store.write([put(1)])
      yield* postgres.sql(
        `INSERT INTO sallyport.mapping SELECT client, n, domain, resource, 0, gone, rev
         FROM sallyport.mapping, generate_series(2, 6000) AS n`,
        database
      )

      assert.lengthOf((yield* readOn(store, null)).changes, 6_000)
    })
  )

  it.live("reads each row once, however many pages there are", () =>
    Effect.gen(function* () {
      const database = yield* postgres.database
      const store = yield* openStore(live(addressOf(database, postgres)))
      const count = 40_000
      yield* postgres.sql(
        `INSERT INTO sallyport.revision (at) SELECT now() FROM generate_series(1, ${count / 100});
         INSERT INTO sallyport.mapping SELECT 'alice', n, 'x.example', '', 0, false, n / 100 + 1
         FROM generate_series(1, ${count}) AS n;
         ANALYZE`,
        database
      )

      assert.lengthOf((yield* readOn(store, null)).changes, count)

      const fetched = Effect.map(
        postgres.sql(
          "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_user_tables WHERE relname = 'mapping'",
          database
        ),
        Number
      )
      yield* until(Effect.map(fetched, (rows) => rows >= count))
      assert.isBelow(yield* fetched, 2 * count)
    })
  )

  it.live("takes names of any bytes", () =>
    Effect.gen(function* () {
      const store = yield* openStore(live(addressOf(yield* postgres.database, postgres)))
      const label = "\\255".repeat(60)
      const change = put(1, `${label}.${label}.${label}.${label}.example`)

      yield* store.write([change])

      assert.deepStrictEqual((yield* readOn(store, null)).changes, [change])
    })
  )

  it.live("lets who was away for less than a day read on, and all others begin anew", () =>
    Effect.gen(function* () {
      const database = yield* postgres.database
      const address = addressOf(database, postgres)
      const store = yield* openStore(live(address))
      yield* store.write([put(1), put(2)])
      const long = yield* readOn(store, null)
      yield* store.write([released(1)])
      const later = yield* readOn(store, null)
      yield* postgres.sql("UPDATE sallyport.revision SET at = at - interval '25 hours'", database)
      yield* store.write([released(2)])

      yield* Effect.flatMap(session(address), ({ run }) => run(prune))

      const anew = yield* readOn(store, long.cursor)
      assert.deepStrictEqual([anew.anew, anew.changes], [true, [released(2)]])
      const on = yield* readOn(store, later.cursor)
      assert.deepStrictEqual([on.anew, on.changes], [false, [released(2)]])
    })
  )

  it.live("leaves a slot alone that is given again while it is to go", () =>
    Effect.gen(function* () {
      const address = addressOf(yield* postgres.database, postgres)
      const store = yield* openStore(live(address))
      yield* store.write([put(1)])
      yield* store.write([released(1)])
      yield* postgres.sql("UPDATE sallyport.revision SET at = at - interval '25 hours'", address.database)
      const [giving, pruning] = [yield* session(address), yield* session(address)]
      const waiting = `SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = '${address.database}'`

      const given = yield* Effect.forkChild(
        giving.run((query) =>
          changing(
            query,
            Effect.gen(function* () {
              yield* query(
                `WITH revised AS (INSERT INTO sallyport.revision DEFAULT VALUES RETURNING rev)
                 UPDATE sallyport.mapping SET gone = false, domain = 'next.example', rev = revised.rev FROM revised`
              )
              yield* Effect.forkChild(pruning.run(prune))
              yield* until(Effect.orDie(Effect.map(postgres.sql(waiting), (count) => count === "1")))
            })
          )
        )
      )
      yield* Fiber.join(given)
      yield* pruning.run((query) => query("SELECT"))

      const { changes } = yield* readOn(store, null)
      assert.deepStrictEqual(
        changes.map(({ mapping }) => mapping.domain),
        ["next.example"]
      )
    })
  )

  it.live("lets go of no more at once than others can wait for", () =>
    Effect.gen(function* () {
      const address = addressOf(yield* postgres.database, postgres)
      yield* Effect.scoped(openStore(live(address)))
      yield* postgres.sql(
        `INSERT INTO sallyport.revision (at) SELECT now() - interval '25 hours' FROM generate_series(1, 15000);
         INSERT INTO sallyport.mapping SELECT 'alice', n, 'x.example', '', 0, true, n FROM generate_series(1, 15000) AS n`,
        address.database
      )
      const left = postgres.sql(
        "SELECT (SELECT count(*) FROM sallyport.revision), (SELECT count(*) FROM sallyport.mapping)",
        address.database
      )
      const { run } = yield* session(address)

      yield* run(prune)
      const first = yield* left
      yield* run(prune)

      assert.deepStrictEqual([first, yield* left], ["5001|5000", "1|0"])
    })
  )

  describe("that is verified", () => {
    const address = Effect.fnUntraced(function* (change: Partial<PostgresAddress> = {}) {
      return {
        hosts: [{ host: "localhost", port: guarded.server.port }],
        user: "sallyport",
        database: yield* guarded.server.database,
        tls: true,
        authorities: join(guarded.folder, "ca.pem"),
        passwordFile: join(guarded.folder, "password"),
        ...change
      }
    })
    const inEnvironment = (value: string) => ConfigProvider.layer(ConfigProvider.fromUnknown({ PGPASSWORD: value }))

    it.live("is encrypted, and has its password from a file or from the environment", () =>
      Effect.gen(function* () {
        const tls = "SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = 'sallyport'"
        yield* Effect.scoped(
          Effect.gen(function* () {
            yield* session(yield* address())
            assert.strictEqual(yield* guarded.server.sql(tls), "t")
          })
        )

        yield* session(yield* address({ passwordFile: null })).pipe(Effect.provide(inEnvironment(password)))
      })
    )

    it.live("is not made to who shows a certificate for another name", () =>
      Effect.gen(function* () {
        const error = yield* refusal(yield* address({ hosts: [{ host: "127.0.0.1", port: guarded.server.port }] }))

        assert.strictEqual(error.reason, "Refused")
        assert.match(error.message, /^PostgreSQL 127\.0\.0\.1:\d+: its certificate is for another name — /)
      })
    )

    it.live("is not made to who shows one of an authority that nobody has named", () =>
      Effect.gen(function* () {
        const error = yield* refusal(yield* address({ authorities: null }))

        assert.match(error.message, /its authority is unknown|its certificate is self-signed/)
        assert.match(error.message, /sslrootcert=/)
      })
    )

    it.live("is not made to who does not encrypt", () =>
      Effect.gen(function* () {
        const error = yield* refusal(yield* address({ hosts: [{ host: "localhost", port: postgres.port }] }))

        assert.match(error.message, /does not support TLS — set ssl = on/)
      })
    )

    for (const [what, change, expected] of [
      ["is no file", { authorities: "/nowhere/ca.pem" }, /\/nowhere\/ca\.pem does not exist/],
      ["holds no certificate", { authorities: "/etc/hostname" }, /\/etc\/hostname holds no certificates/],
      ["with the password is missing", { passwordFile: "/nowhere/secret" }, /\/nowhere\/secret does not exist/]
    ] as const) {
      it.live(`says which file ${what}`, () =>
        Effect.gen(function* () {
          assert.match((yield* refusal(yield* address(change))).message, expected)
        })
      )
    }

    it.live("tells nobody a password, right or wrong", () =>
      Effect.gen(function* () {
        const file = join(guarded.folder, "changing")
        fs.writeFileSync(file, "wrong battery staple")
        const given = yield* address({ passwordFile: file })
        let said = ""

        const lines = yield* logged(
          Effect.gen(function* () {
            const store = yield* makeStore(live(given))
            yield* until(Effect.map(trouble(store), (message) => message?.includes("28P01") === true))
            said = JSON.stringify([yield* store.status, String(yield* trouble(store))])
            // A new one counts without a restart.
            fs.writeFileSync(file, `${password}\n`)
            yield* isConnected(store)
            said += JSON.stringify(yield* store.status)
          })
        )

        assert.match(lines, /password authentication failed/)
        assert.notMatch(lines + said, /battery/)
      })
    )

    it.live("says what is missing where a password is wanted and none is there", () =>
      Effect.gen(function* () {
        const error = yield* refusal(yield* address({ passwordFile: null })).pipe(Effect.provide(inEnvironment("")))

        assert.include(error, { reason: "Refused" })
        assert.match(error.message, /password authentication — see the password \(password_file/)
      })
    )
  })

  it.live("names each host and what is wrong with it", () =>
    Effect.gen(function* () {
      const way = yield* cuttableWay(postgres.port)
      yield* way.cut
      const address = addressOf(yield* postgres.database, { ...postgres, port: 1 }, { ...postgres, port: way.port })

      const { message } = yield* refusal(address)

      assert.match(
        message,
        /^PostgreSQL 127\.0\.0\.1:1: connect ECONNREFUSED [^;\n]* — [^;\n]*; PostgreSQL 127\.0\.0\.1:\d+: [^;\n]+ — [^;\n]+$/
      )
    })
  )

  it.live("says that nobody knows its name", () =>
    Effect.gen(function* () {
      const hosts = [{ host: "db.invalid", port: 5432 }]
      const error = yield* refusal({ ...addressOf("site", postgres), hosts })

      assert.strictEqual(error.reason, "Unreachable")
      assert.match(error.message, /^PostgreSQL db\.invalid:5432: .*(ENOTFOUND|EAI_AGAIN).* — see its name, and DNS$/)
    })
  )

  it.live("says that there is no such database", () =>
    Effect.gen(function* () {
      const error = yield* refusal(addressOf("nobody", postgres))

      assert.match(error.message, /database "nobody" does not exist \(3D000\) — make the database with createdb/)
    })
  )
})
