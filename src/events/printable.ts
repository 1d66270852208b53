/**
 * Text of the network as a terminal may show it: control characters, escape sequences, line separators and what turns the
 * direction of writing become `?`. Every name, key and reason that was not made here goes through this.
 */
export const printable = (text: string): string => text.replaceAll(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, "?")

/** Text as one word of a command: whoever runs what is said here must not run what somebody else has written. */
export const shellWord = (text: string): string =>
  /^[\w./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`
