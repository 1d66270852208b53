import * as Result from "effect/Result"
import { assert, describe, it } from "vitest"
import { parsePostgresAddress } from "../../src/config/postgresAddress.ts"

const parsed = (text: string) => Result.getOrThrow(parsePostgresAddress(text))
const complaint = (text: string) => {
  const { cause, fix } = Result.getOrThrow(Result.flip(parsePostgresAddress(text)))
  return `${cause} — ${fix}`
}

describe("the address of a site's PostgreSQL", () => {
  it("is a host, and all else follows", () => {
    assert.deepStrictEqual(parsed("postgres://db.corp"), {
      hosts: [{ host: "db.corp", port: 5432 }],
      user: "sallyport",
      database: "sallyport",
      tls: true,
      authorities: null,
      passwordFile: null
    })
  })

  it("has several hosts, a user, a database and files, if it is to", () => {
    assert.deepStrictEqual(
      parsed(
        "postgresql://gate@db1.corp:5433,DB2.corp,[fd00::1]:5434,192.0.2.1/site%2D1?sslmode=verify-full&sslrootcert=/etc/ca.pem&password_file=/etc/a%20secret"
      ),
      {
        hosts: [
          { host: "db1.corp", port: 5433 },
          { host: "db2.corp", port: 5432 },
          { host: "fd00::1", port: 5434 },
          { host: "192.0.2.1", port: 5432 }
        ],
        user: "gate",
        database: "site-1",
        tls: true,
        authorities: "/etc/ca.pem",
        passwordFile: "/etc/a secret"
      }
    )
  })

  it("names the database after the user when it is not named", () => {
    assert.include(parsed("postgres://gate@db.corp/"), { user: "gate", database: "gate" })
  })

  it("may go without TLS on this host only", () => {
    assert.isFalse(parsed("postgres://localhost,127.0.0.2,[::1]:5433?sslmode=disable").tls)
    assert.match(complaint("postgres://localhost,db.corp?sslmode=disable"), /to db\.corp in the clear — leave it out/)
  })

  it.each([
    ["mysql://db.corp", /not the address of a PostgreSQL — write for example postgres:/],
    ["postgres://", /not the address of a PostgreSQL/],
    ["postgres://db.corp/a/b", /not the address of a PostgreSQL/],
    ["postgres://db.corp/a#b", /not the address of a PostgreSQL/],
    ["postgres://db.corp:0", /its host 1 is not host:port/],
    ["postgres://db.corp,", /its host 2 is not host:port/],
    ["postgres://a b@db.corp", /its user or its database is not a name/],
    ["postgres://db.corp/%00", /its user or its database is not a name/],
    ["postgres://db.corp/%", /its user or its database is not a name/],
    [`postgres://${Array.from({ length: 9 }, (_, i) => `db${i}`).join(",")}`, /it has 9 hosts — name 8 at most/],
    ["postgres://db.corp?sslmode=require", /always verified in full — leave sslmode out/],
    ["postgres://db.corp?sslrootcert=ca.pem", /not an absolute path — start it with \//],
    ["postgres://db.corp?password_file=", /not an absolute path/],
    ["postgres://db.corp?connect_timeout=5", /unknown option — use sslmode, sslrootcert and password_file only/]
  ])("is refused in words: %s", (text, expected) => {
    assert.match(complaint(text), expected)
  })

  it.each([
    "postgres://gate:hunter2@db.corp/site",
    "postgres://gate:hunt@er2@db.corp/site",
    "postgres://gate:hunter2/x@db.corp",
    "postgres://gate:hunter2?x@db.corp",
    "postgres://gate:hunter2#x@db.corp",
    "postgres://db.corp?password=hunter2",
    "postgres://db.corp?hunter2",
    "postgres://db.corp?sslmode=hunter2",
    "postgres://hunter2:@db.corp",
    "postgres:gate:hunter2@db.corp"
  ])("has no password in it, and no complaint repeats one: %s", (text) => {
    assert.notInclude(complaint(text), "hunter2")
  })

  it("says where a password belongs instead", () => {
    assert.match(
      complaint("postgres://gate:hunter2@db.corp"),
      /^a password stands in the address, .* — put it into a file .*\?password_file=, or .* PGPASSWORD$/
    )
  })
})
