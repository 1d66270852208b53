import * as Flag from "effect/cli/Flag"

/** `--name`: on when it is given, off when not. */
export const switchFlag = (name: string, description: string): Flag.Flag<boolean> =>
  Flag.Boolean(name).pipe(Flag.withDescription(description), Flag.withDefault(false))
