/** A man page (man(7)) for each command, made of what its `--help` says. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as CliOutput from "effect/cli/CliOutput"
import * as Command from "effect/cli/Command"
import type * as HelpDoc from "effect/cli/HelpDoc"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { cli } from "../../src/cli/cli.ts"

export interface CommandHelp {
  /** From `sallyport` on. */
  readonly path: ReadonlyArray<string>
  readonly doc: HelpDoc.HelpDoc
}

const silent: Console.Console = { ...globalThis.console, log: () => {} }

const helpOf = (path: ReadonlyArray<string>): Effect.Effect<CommandHelp> =>
  Effect.suspend(() => {
    let doc: HelpDoc.HelpDoc | undefined
    const noting = CliOutput.layer(
      Object.assign(CliOutput.defaultFormatter(), {
        formatHelpDoc: (said: HelpDoc.HelpDoc) => {
          doc = said
          return ""
        }
      })
    )
    const asked = Command.runWith(cli, { version: "" })([...path.slice(1), "--help"]).pipe(
      Effect.provide([noting, NodeServices.layer]),
      Effect.provideService(Console.Console, silent),
      Effect.ignore
    )
    // Help asks nothing of the services behind the commands.
    return Effect.map(asked as Effect.Effect<void>, () => {
      if (doc === undefined) throw new Error(`${path.join(" ")} has no help`)
      return { path, doc }
    })
  })

/** Of the command and of all below it, in the order of the help. */
export const allHelp = (path: ReadonlyArray<string> = ["sallyport"]): Effect.Effect<ReadonlyArray<CommandHelp>> =>
  Effect.flatMap(helpOf(path), (own) => {
    const below = (own.doc.subcommands ?? []).flatMap(({ commands }) => commands.map(({ name }) => name))
    return Effect.map(
      Effect.forEach(below, (name) => allHelp([...path, name])),
      (pages) => [own, ...pages.flat()]
    )
  })

/** `sallyport client add` has `sallyport-client-add.1`. */
export const pageName = (path: ReadonlyArray<string>): string => path.join("-")

/** No sequence of troff's, and dashes that can be copied to a shell. */
const escaped = (text: string): string =>
  text
    .replaceAll("\\", "\\e")
    .replaceAll("-", "\\-")
    .replaceAll(
      /[\u{80}-\u{10ffff}]/gu,
      (char) => `\\[u${char.codePointAt(0)!.toString(16).toUpperCase().padStart(4, "0")}]`
    )
    .replaceAll(/^[.']/gm, "\\&$&")

const bold = (text: string): string => `\\fB${escaped(text)}\\fR`
const italic = (text: string): string => `\\fI${escaped(text)}\\fR`

const flagLines = ({ aliases, description, name, type }: HelpDoc.FlagDoc): ReadonlyArray<string> => {
  const named = [`--${name}`, ...aliases].map(bold).join(", ")
  const value = type === "boolean" ? "" : ` ${italic(type.replaceAll("|", " | "))}`
  return [".TP", `${named}${value}`, escaped(Option.getOrElse(description, () => ""))]
}

const section = (title: string, lines: ReadonlyArray<string>): ReadonlyArray<string> =>
  lines.length === 0 ? [] : [`.SH ${title}`, ...lines]

/** `date`: of the package, as `2026-01-31`. */
export const manPage = (
  { doc, path }: CommandHelp,
  { date, version }: { readonly date: string; readonly version: string }
): string => {
  const flags = [...doc.flags, ...(doc.inheritedFlags ?? [])]
  const below = (doc.subcommands ?? []).flatMap(({ commands }) => commands)
  const parent = path.slice(0, -1)
  const seeAlso = [...(parent.length === 0 ? [] : [parent]), ...below.map(({ name }) => [...path, name])]
  return `${[
    `.TH ${pageName(path).toUpperCase()} 1 ${date} "Sallyport ${version}" "Sallyport"`,
    ".SH NAME",
    `${escaped(pageName(path))} \\- ${escaped(doc.description.split("\n", 1)[0]!)}`,
    ".SH SYNOPSIS",
    bold(doc.usage),
    ".SH DESCRIPTION",
    `${escaped(doc.description)}.`,
    ...section(
      "ARGUMENTS",
      (doc.args ?? []).flatMap(({ description, name }) => [
        ".TP",
        italic(name),
        escaped(Option.getOrElse(description, () => ""))
      ])
    ),
    ...section("OPTIONS", [...flags, ...(doc.globalFlags ?? [])].flatMap(flagLines)),
    ...section(
      "COMMANDS",
      below.flatMap(({ description, name }) => [".TP", bold(name), escaped(description)])
    ),
    ".SH FILES",
    ".TP",
    escaped("/etc/sallyport/sallyport.yaml"),
    "What the gateway does; where SALLYPORT_CONFIG is set, the file that it names.",
    ".SH EXIT STATUS",
    "0: it is done. 1: it is not, for whatever reason. 2: the words of the command are wrong.",
    ...section("SEE ALSO", [
      [...seeAlso.map((words) => `\\fB${escaped(pageName(words))}\\fR(1)`), "\\fI/usr/share/doc/sallyport\\fR"].join(
        ",\n"
      )
    ])
  ].join("\n")}\n`
}
