/** npm's own program on this Node, where npm has started us: with the Node that it was installed for, bytes could differ. */
export const npm = (...args: ReadonlyArray<string>): readonly [string, ...ReadonlyArray<string>] => {
  const program = process.env.npm_execpath
  return program === undefined ? ["npm", ...args] : [process.execPath, program, ...args]
}
