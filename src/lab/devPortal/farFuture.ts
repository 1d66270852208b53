/** 2038-01-01 in Unix seconds: stands for "never" where there must be an end, and for what is to stay the same. */
export const farFuture = 2_145_916_800
