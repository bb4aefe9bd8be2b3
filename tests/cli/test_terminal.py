from world import cases, main; main(cases(globals()))
