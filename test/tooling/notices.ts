/** The licences of the packages whose code is part of the program. */
import * as Fs from "node:fs"
import * as Path from "node:path"

/** The package that a file belongs to: of `node_modules/ws/lib/stream.js` it is `ws`; `undefined` for one of our own. */
export const packageOf = (file: string): string | undefined => /.*node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(file)?.[1]

const rule = "-".repeat(80)

/** The packages that the notices in a `dist` are about. */
export const packagesInside = (dist: string): ReadonlyArray<string> =>
  Array.from(
    Fs.readFileSync(Path.join(dist, "THIRD_PARTY_NOTICES.txt"), "utf8").matchAll(new RegExp(`^${rule}\n(\\S+) `, "gm")),
    ([, name]) => name!
  )

/** One text for all: of each package its name, version, kind of licence, and the licence word for word. */
export const noticesOf = (packages: ReadonlyArray<string>, root: string): string =>
  [
    "The program of Sallyport, in src/bin.js and layers/program, holds code of these packages, each under its own licence.\n",
    ...packages.map((name) => {
      const folder = Path.join(root, "node_modules", name)
      const { license, version }: { license: string; version: string } = JSON.parse(
        Fs.readFileSync(Path.join(folder, "package.json"), "utf8")
      )
      const files = Fs.readdirSync(folder).filter((file) => /^(?:licen[cs]e|notice|copying)/i.test(file))
      if (files.length === 0) throw new Error(`${folder} has no licence — the program may not hold a part of it`)
      const texts = files.map((file) => Fs.readFileSync(Path.join(folder, file), "utf8").trim())
      return `${rule}\n${name} ${version}, ${license}\n\n${texts.join("\n\n")}\n`
    })
  ].join("\n")
