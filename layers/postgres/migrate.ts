/** The tables of a site, in the schema `sallyport`. They only ever grow, and those of a later version are left alone. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { maxSites } from "../../src/shared/slotZones.ts"
import { sharedStoreError } from "./explainSql.ts"
import { changing } from "./revisions.ts"
import type { Query, Work } from "./Session.ts"

/**
 * The statements that make each version of the one before. `revision` has a row for each change of the site: whatever has
 * changed since has a higher number, and the token tells a history from another one with the same numbers.
 */
const steps: ReadonlyArray<ReadonlyArray<string>> = [
  [
    "CREATE TABLE sallyport.schema_version (version integer NOT NULL)",
    "INSERT INTO sallyport.schema_version VALUES (0)",
    `CREATE TABLE sallyport.revision (
      rev bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
      token uuid NOT NULL DEFAULT gen_random_uuid(),
      at timestamptz NOT NULL DEFAULT now()
    )`,
    "INSERT INTO sallyport.revision DEFAULT VALUES",
    `CREATE TABLE sallyport.gateway (
      no smallint PRIMARY KEY CHECK (no BETWEEN 0 AND 255), id text NOT NULL UNIQUE,
      incarnation text NOT NULL
    )`,
    `CREATE TABLE sallyport.directory (
      domain text PRIMARY KEY, slot integer NOT NULL UNIQUE CHECK (slot > 0), rev bigint NOT NULL
    )`,
    "CREATE INDEX directory_rev ON sallyport.directory (rev)",
    `CREATE TABLE sallyport.lease (
      no integer PRIMARY KEY CHECK (no >= 0), gateway smallint NOT NULL REFERENCES sallyport.gateway
    )`,
    `CREATE TABLE sallyport.mapping (
      client text NOT NULL, slot integer NOT NULL CHECK (slot > 0), domain text NOT NULL, resource text NOT NULL,
      last_used double precision NOT NULL, gone boolean NOT NULL, rev bigint NOT NULL, PRIMARY KEY (client, slot)
    )`,
    "CREATE INDEX mapping_rev ON sallyport.mapping (rev)",
    "CREATE INDEX mapping_gone ON sallyport.mapping (rev) WHERE gone"
  ],
  // Dates are epoch milliseconds of the server.
  [
    `CREATE UNLOGGED TABLE sallyport.heartbeat (
      gateway smallint PRIMARY KEY REFERENCES sallyport.gateway ON DELETE CASCADE, epoch double precision NOT NULL,
      at double precision NOT NULL, clients integer NOT NULL, master_since double precision, heir smallint
    )`,
    "CREATE SEQUENCE sallyport.presence_rev",
    `CREATE UNLOGGED TABLE sallyport.presence (
      gateway smallint NOT NULL REFERENCES sallyport.gateway ON DELETE CASCADE, public_key text NOT NULL,
      epoch double precision NOT NULL, address text NOT NULL, port integer NOT NULL, local text, tai64n text,
      sent_tick bigint NOT NULL, handshake_at double precision NOT NULL, rev bigint NOT NULL,
      PRIMARY KEY (gateway, public_key)
    )`,
    "CREATE INDEX presence_rev_of ON sallyport.presence (gateway, rev)",
    "CREATE INDEX presence_handshake_at ON sallyport.presence (handshake_at)"
  ],
  // Of a gateway: what it goes by.
  [
    `CREATE TABLE sallyport.policy (
      version bigint PRIMARY KEY CHECK (version > 0), token uuid NOT NULL DEFAULT gen_random_uuid(), text text NOT NULL,
      author text NOT NULL, at timestamptz NOT NULL DEFAULT now()
    )`,
    "ALTER TABLE sallyport.gateway ADD COLUMN policy_version bigint, ADD COLUMN policy_token uuid"
  ],
  // An older gateway leaves them out.
  [
    "ALTER TABLE sallyport.heartbeat ADD COLUMN address text, ADD COLUMN port integer, ADD COLUMN draining boolean NOT NULL DEFAULT false"
  ],
  // Without any the gateways are those of the only site.
  [
    `CREATE TABLE sallyport.site (
      name text PRIMARY KEY, no smallint NOT NULL UNIQUE CHECK (no BETWEEN 0 AND ${maxSites - 1})
    )`,
    "ALTER TABLE sallyport.gateway ADD COLUMN site smallint NOT NULL DEFAULT 0"
  ],
  ["ALTER TABLE sallyport.heartbeat ADD COLUMN about text"]
]

/** Brings the tables up to date, `later` steps of a version to come included, unless they are newer than this version. */
export const migrate =
  (at: string, later: typeof steps = []): Work<void> =>
  (query) =>
    Effect.gen(function* () {
      const to = [...steps, ...later]
      const { version } = yield* look(query)
      if (version === to.length) return
      if (version > to.length) {
        return yield* sharedStoreError(
          "Newer",
          at,
          `its tables are a newer version's (schema ${version}, this version knows ${to.length})`,
          "upgrade this gateway"
        )
      }
      yield* changing(query, upgrade(query, to))
    })

const upgrade = Effect.fnUntraced(function* (query: Query, to: typeof steps) {
  const { schema, version } = yield* look(query)
  if (version >= to.length) return
  // Who may not make one may have been given one.
  if (!schema) yield* query("CREATE SCHEMA sallyport")
  for (const statement of to.slice(version).flat()) yield* query(statement)
  yield* query(`UPDATE sallyport.schema_version SET version = ${to.length}`)
})

/** What is there. The catalog is read as a table: who asks for a name by `to_regclass` may be told what was before the lock. */
const look = Effect.fnUntraced(function* (query: Query) {
  const [schema] = yield* query(`
    SELECT EXISTS (SELECT FROM pg_class WHERE relnamespace = pg_namespace.oid AND relname = 'schema_version') AS made
    FROM pg_namespace WHERE nspname = 'sallyport'`)
  if (schema?.["made"] !== true) return { schema: schema !== undefined, version: 0 }
  const [{ version }] = yield* decodeVersion(yield* query("SELECT version FROM sallyport.schema_version"))
  return { schema: true, version }
})
const decodeVersion = Schema.decodeUnknownEffect(Schema.Tuple([Schema.Struct({ version: Schema.Int })]))
