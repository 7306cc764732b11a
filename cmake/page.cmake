# DIRECTORY/page.html.gz and policy.txt -> OUT, a C file with both in it (src/web/page.h).
file(READ ${DIRECTORY}/page.html.gz bytes HEX)
file(READ ${DIRECTORY}/policy.txt policy)
string(STRIP "${policy}" policy)
string(REGEX REPLACE "(..)" "0x\\1," bytes "${bytes}")
string(REGEX REPLACE "(................................................................................)" "\\1\n" bytes "${bytes}")
file(WRITE ${OUT} "#include \"web/page.h\"\n\nconst unsigned char nas__page[] = {\n${bytes}};\n\
const size_t nas__page_size = sizeof nas__page;\nconst char nas__page_policy[] = \"${policy}\";\n")
