/*
 * fuzz_profile.c
 *		The parser of AWS config files, and of command lines, with any bytes.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/profile.h"

extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
require(bool condition)
{
	if (!condition)
		abort();
}

static void
try_profiles(const char *text, size_t size, bool is_credentials, bool alone)
{
	StediProfiles profiles = {0};
	StediStatus status;

	if (!alone)
		require(stedi_profiles_parse(&profiles, "[default]\na = b\n", 16, false, &status));
	if (!stedi_profiles_parse(&profiles, text, size, is_credentials, &status))
		require(status.code == STEDI_BAD_ARGUMENT);
	for (size_t i = 0; i < profiles.n_settings; i++)
	{
		const StediProfileSetting *setting = &profiles.settings[i];
		const StediProfileSetting *found;

		require(stedi_profiles_have(&profiles, setting->profile));
		require(setting->profile[0] != '\n' || is_credentials);
		if (setting->name == NULL)
			continue;
		require((setting->name[0] != '\0') && setting->value != NULL);
		found = stedi_profiles_find(&profiles, setting->profile, setting->name);
		require(found == NULL || (found >= setting && found->value[0] != '\0'));
	}
	stedi_profiles_free(&profiles);
	require(profiles.n_settings == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	StediStatus status;
	char	   *text = malloc(size + 1);
	char	  **words;

	for (int i = 0; i < 4; i++)
		try_profiles((const char *) data, size, i & 1, i & 2);

	memcpy(text, data, size);
	text[size] = '\0';
	words = stedi_split_words(text, &status);
	require(words == NULL ? status.code == STEDI_BAD_ARGUMENT : words[0] != NULL);
	stedi_words_free(words);
	free(text);
	return 0;
}
