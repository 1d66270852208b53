import type * as CliError from "effect/cli/CliError"
import * as CliOutput from "effect/cli/CliOutput"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Runtime from "effect/Runtime"
import * as Schema from "effect/Schema"
import { quote } from "../config/problem.ts"
import { suggest } from "../config/suggest.ts"
import type { Parsed } from "../config/values.ts"

/** The words of a command make no sense, whatever the files and the gateway say; one line with cause and fix, and exit code 2. */
export class UsageError extends Schema.TaggedError<UsageError>()("UsageError", { message: Schema.String }) {
  override readonly [Runtime.errorExitCode] = 2
}

/** The value of the flag or argument that `what` names. */
export const fromFlag = <A>(what: string, parsed: Parsed<A>): Effect.Effect<A, UsageError> =>
  Effect.mapError(
    Effect.fromResult(parsed),
    ({ cause, fix }) => new UsageError({ message: `${what}: ${cause} — ${fix}` })
  )

/** At most one of these flags. */
export const atMostOne = (flags: Readonly<Record<string, boolean>>): Effect.Effect<void, UsageError> => {
  const named = Object.keys(flags).filter((name) => flags[name])
  return named.length < 2
    ? Effect.void
    : Effect.fail(new UsageError({ message: `${named.join(" and ")} exclude each other — name one of them` }))
}

/** A wrong word on the command line is told in one line; help is for who asks for it. */
export const layerUsageErrors = CliOutput.layerPresenter({
  present: (event) =>
    event._tag === "InvalidInvocation" && event.errors[0] !== undefined
      ? Console.error(`sallyport: ${describeUsage(event.errors[0], event.commandPath, event.helpDoc)}`)
      : CliOutput.defaultPresenter.present(event)
})

type HelpDoc = CliOutput.Presenter.InvalidInvocation["helpDoc"]

/** Cause and fix in one line. */
const describeUsage = (
  error: CliError.NonShowHelpErrors,
  path: ReadonlyArray<string>,
  { flags, subcommands }: HelpDoc
): string => {
  const help = `see ${path.join(" ")} --help`
  switch (error._tag) {
    case "UnknownSubcommand": {
      const known = (subcommands ?? []).flatMap(({ commands }) => commands.map(({ name }) => name))
      return `${quote(error.subcommand)} is no command — ${meant(error.subcommand, known, help)}`
    }
    case "UnrecognizedOption": {
      const known = flags.map(({ name }) => `--${name}`)
      return `${quote(error.option)} is no flag of ${path.join(" ")} — ${meant(error.option, known, help)}`
    }
    case "MissingOption":
      return `--${error.option} is missing — ${help}`
    case "MissingArgument":
      return `${error.argument} is missing — ${help}`
    case "UnexpectedArgument":
      return `${error.arguments.map(quote).join(" ")} is more than ${path.join(" ")} takes — ${help}`
    case "InvalidValue": {
      const name = error.kind === "argument" ? error.option : `--${error.option}`
      return error.value === ""
        ? `${name} has no value — ${help}`
        : `${name}: ${quote(error.value)} does not fit — ${help}`
    }
    default:
      return `${error.message.replaceAll(/\s+/g, " ")} — ${help}`
  }
}

const meant = (word: string, known: ReadonlyArray<string>, help: string): string => {
  const near = suggest(word, known) ?? known.find((name) => word.length > 1 && name.startsWith(word))
  return near === undefined ? help : `did you mean ${near}?`
}
